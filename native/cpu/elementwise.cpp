// fill, cast, add, scale, accumulate: one pass over memory each.
#include "loops.hpp"

namespace temper::TEMPER_ISA {

// fill: y = value.

static std::unique_ptr<Prepared> prepare_fill(const Call& call) {
    return prepared([&call, value = call.attrs.number("value")](bool) {
        const Tensor& y = call.out[0];
        if (y.dtype == DType::i32) {
            std::fill_n(y.as<int32_t>(), y.elements(), static_cast<int32_t>(value));
            return;
        }
        with_types(
            [&](auto* to) {
                each_vector_parallel(call.threads, y.elements(), [=, v = splat(static_cast<float>(value))](int64_t i, auto lanes) {
                    store(to + i, v, lanes);
                });
            },
            y);
    });
}

// cast: y = x in y's type.

static void run_cast(const Call& call) {
    const Tensor &x = call.in[0], &y = call.out[0];
    with_weight(
        [&](auto* from) {
            with_types(
                [&](auto* to) {
                    each_vector_parallel(call.threads, y.elements(), [=](int64_t i, auto lanes) {
                        store(to + i, load(from + i, lanes), lanes);
                    });
                },
                y);
        },
        x);
}

// add: y = a + b.

static void run_add(const Call& call) {
    with_types(
        [&](auto* a, auto* b, auto* y) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                store(y + i, load(a + i, lanes) + load(b + i, lanes), lanes);
            });
        },
        call.in[0], call.in[1], call.out[0]);
}

// scale: y = alpha · x.

static void run_scale(const Call& call, float factor) {
    const vf alpha = splat(factor);
    with_types(
        [&](auto* x, auto* y) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                store(y + i, alpha * load(x + i, lanes), lanes);
            });
        },
        call.in[0], call.out[0]);
}

static std::unique_ptr<Prepared> prepare_scale(const Call& call) {
    return prepared([&call, factor = static_cast<float>(call.attrs.number("alpha"))](bool) { run_scale(call, factor); });
}

// accumulate: y (+)= x.

static void run_accumulate(const Call& call, bool add) {
    float* y = call.out[0].as<float>();
    with_types(
        [&](auto* x) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                const vf value = load(x + i, lanes);
                store(y + i, add ? load(y + i, lanes) + value : value, lanes);
            });
        },
        call.in[0]);
}

static std::unique_ptr<Prepared> prepare_accumulate(const Call& call) {
    return prepared(
        [&call, mode = accumulate_mode(call.attrs)](bool first) { run_accumulate(call, adds(mode, first)); });
}

extern const Kernel fill_kernel = {"fill", no_workspace, prepare_fill};
extern const Kernel cast_kernel = {"cast", no_workspace, prepare_call<run_cast>};
extern const Kernel add_kernel = {"add", no_workspace, prepare_call<run_add>};
extern const Kernel scale_kernel = {"scale", no_workspace, prepare_scale};
extern const Kernel accumulate_kernel = {"accumulate", no_workspace, prepare_accumulate};

} // namespace temper::TEMPER_ISA
