// fill, cast, add, scale: one pass over memory each.
#include "expect.hpp"
#include "loops.hpp"

namespace temper::TEMPER_ISA {

static void expect_same_elements(const Call& call, const Tensor& x, const Tensor& y) {
    expect(x.elements() == y.elements(), call, "input and output differ in their number of elements");
}

// fill: y = value.

static void check_fill(const Call& call) {
    expect_counts(call, 0, 1);
    call.attrs.number("value");
}

static void run_fill(Call& call) {
    const double value = call.attrs.number("value");
    Tensor& y = call.out[0];
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
}

// cast: y = x in y's type.

static void check_cast(const Call& call) {
    expect_counts(call, 1, 1);
    expect_weight(call, call.in[0], "x");
    expect_float(call, call.out[0], "y");
    expect_same_elements(call, call.in[0], call.out[0]);
}

static void run_cast(Call& call) {
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

static void check_add(const Call& call) {
    expect_counts(call, 2, 1);
    expect_float(call, call.in[0], "a");
    expect_float(call, call.in[1], "b");
    expect_float(call, call.out[0], "y");
    expect_same_elements(call, call.in[0], call.out[0]);
    expect_same_elements(call, call.in[1], call.out[0]);
}

static void run_add(Call& call) {
    with_types(
        [&](auto* a, auto* b, auto* y) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                store(y + i, load(a + i, lanes) + load(b + i, lanes), lanes);
            });
        },
        call.in[0], call.in[1], call.out[0]);
}

// scale: y = alpha · x.

static void check_scale(const Call& call) {
    expect_counts(call, 1, 1);
    expect_float(call, call.in[0], "x");
    expect_float(call, call.out[0], "y");
    expect_same_elements(call, call.in[0], call.out[0]);
    call.attrs.number("alpha");
}

static void run_scale(Call& call) {
    const vf alpha = splat(static_cast<float>(call.attrs.number("alpha")));
    with_types(
        [&](auto* x, auto* y) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                store(y + i, alpha * load(x + i, lanes), lanes);
            });
        },
        call.in[0], call.out[0]);
}

extern const Op fill_op = {"fill", check_fill, no_workspace, run_fill, {{"value", AttrType::number}}};
extern const Op cast_op = {"cast", check_cast, no_workspace, run_cast};
extern const Op add_op = {"add", check_add, no_workspace, run_add, {}, {{0, 0}, {0, 1}}};
extern const Op scale_op = {"scale", check_scale, no_workspace, run_scale, {{"alpha", AttrType::number}}};

} // namespace temper::TEMPER_ISA
