// The primitives beside einsum. An op that this set has no kernel for is lowered to them (graph/passes/lower.ts), so they are
// plain loops: each element is computed in float, transcendental functions in double precision and rounded once.
#include "loops.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

namespace {

// f(i) for each of n elements, over all threads.
template <class F> void each_element(Threads threads, int64_t n, F&& f) {
    constexpr int64_t TASK = 8192;
    parallel_for(threads_for(threads, n), ceil_div(n, TASK), [&](int64_t task) {
        for (int64_t i = task * TASK; i < std::min(n, (task + 1) * TASK); i++) f(i);
    });
}

// --- literal and reshape ---------------------------------------------------------------------------------------------

std::unique_ptr<Prepared> prepare_literal(const Call& call) {
    const auto& numbers = call.attrs.get<std::vector<double>>("values");
    return prepared([&call, values = std::vector<float>(numbers.begin(), numbers.end())](bool) {
        const bool fills = values.size() == 1;
        with_types(
            [&](auto* y) {
                each_element(call.threads, call.out[0].elements(), [=, from = values.data()](int64_t i) { put(y + i, from[fills ? 0 : i]); });
            },
            call.out[0]);
    });
}

// y = f(x), element by element.
template <class F> void map(const Call& call, F f) {
    with_types(
        [&](auto* x, auto* y) { each_element(call.threads, call.out[0].elements(), [=](int64_t i) { put(y + i, f(to_float(x[i]))); }); },
        call.in[0], call.out[0]);
}

void run_reshape(const Call& call) {
    if (call.in[0].data != call.out[0].data) map(call, [](float x) { return x; });
}

std::unique_ptr<Prepared> prepare_shift(const Call& call) {
    return prepared([&call, by = static_cast<float>(call.attrs.number("by"))](bool) { map(call, [=](float x) { return x + by; }); });
}

// --- unary -----------------------------------------------------------------------------------------------------------

template <class F> std::unique_ptr<Prepared> prepare_map(const Call& call, F f) {
    return prepared([&call, f](bool) { map(call, f); });
}

std::unique_ptr<Prepared> prepare_unary(const Call& call) {
    const std::string& fn = call.attrs.text("fn");
    if (fn == "exp") return prepare_map(call, [](float x) { return static_cast<float>(std::exp(static_cast<double>(x))); });
    if (fn == "log") return prepare_map(call, [](float x) { return static_cast<float>(std::log(static_cast<double>(x))); });
    if (fn == "reciprocal") return prepare_map(call, [](float x) { return 1.0f / x; });
    if (fn == "rsqrt") return prepare_map(call, [](float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); });
    if (fn == "sqrt") return prepare_map(call, [](float x) { return std::sqrt(x); });
    if (fn == "sigmoid") return prepare_map(call, [](float x) { return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x)))); });
    if (fn == "tanh") return prepare_map(call, [](float x) { return static_cast<float>(std::tanh(static_cast<double>(x))); });
    if (fn == "erf") return prepare_map(call, [](float x) { return static_cast<float>(std::erf(static_cast<double>(x))); });
    if (fn == "abs") return prepare_map(call, [](float x) { return std::fabs(x); });
    if (fn == "sign") return prepare_map(call, [](float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }); // 0 and NaN stay
    return prepare_map(call, [](float x) { return std::isfinite(x) ? 1.0f : 0.0f; });
}

// --- binary ----------------------------------------------------------------------------------------------------------

// y = f(a, b), where b may be one element for all.
template <class F> std::unique_ptr<Prepared> prepare_zip(const Call& call, F f) {
    return prepared([&call, f](bool) {
        const int64_t step = call.in[1].elements() == 1 ? 0 : 1;
        with_types(
            [&](auto* a, auto* b, auto* y) {
                each_element(call.threads, call.out[0].elements(), [=](int64_t i) { put(y + i, f(to_float(a[i]), to_float(b[i * step]))); });
            },
            call.in[0], call.in[1], call.out[0]);
    });
}

std::unique_ptr<Prepared> prepare_binary(const Call& call) {
    const std::string& fn = call.attrs.text("fn");
    if (fn == "add") return prepare_zip(call, [](float a, float b) { return a + b; });
    if (fn == "subtract") return prepare_zip(call, [](float a, float b) { return a - b; });
    if (fn == "multiply") return prepare_zip(call, [](float a, float b) { return a * b; });
    if (fn == "divide") return prepare_zip(call, [](float a, float b) { return a / b; });
    // NaN in either is NaN, as Math.max has it.
    if (fn == "maximum") return prepare_zip(call, [](float a, float b) { return a > b || std::isnan(a) ? a : b; });
    if (fn == "minimum") return prepare_zip(call, [](float a, float b) { return a < b || std::isnan(a) ? a : b; });
    return prepare_zip(call, [](float a, float b) { return a > b ? 1.0f : 0.0f; });
}

// --- where, pick and softmax_shift -----------------------------------------------------------------------------------

void run_where(const Call& call) {
    const int64_t step = call.in[0].elements() == 1 ? 0 : 1;
    with_types(
        [&](auto* condition, auto* a, auto* b, auto* y) {
            each_element(call.threads, call.out[0].elements(), [=](int64_t i) {
                put(y + i, to_float(condition[i * step]) != 0 ? to_float(a[i]) : to_float(b[i]));
            });
        },
        call.in[0], call.in[1], call.in[2], call.out[0]);
}

std::unique_ptr<Prepared> prepare_pick(const Call& call) {
    return prepared([&call, index = call.attrs.integer("index")](bool) {
        with_types([&](auto* x, auto* y) { put(y, to_float(x[index])); }, call.in[0], call.out[0]);
    });
}

// y = the largest element along the last axis.
void run_softmax_shift(const Call& call) {
    const int64_t width = call.in[0].shape.back();
    with_types(
        [&](auto* x, auto* y) {
            parallel_for(threads_for(call.threads, call.in[0].elements()), call.out[0].elements(), [=](int64_t row) {
                float largest = -INFINITY;
                for (int64_t i = row * width; i < (row + 1) * width; i++) largest = std::max(largest, to_float(x[i]));
                put(y + row, largest);
            });
        },
        call.in[0], call.out[0]);
}

// --- one_hot and span_mask ----------------------------------------------------------------------------------------

void run_one_hot(const Call& call) {
    const int64_t width = call.out[0].shape.back();
    const int32_t* ids = call.in[0].as<int32_t>();
    with_types(
        [&](auto* y) {
            parallel_for(threads_for(call), call.in[0].elements(), [=](int64_t row) {
                for (int64_t i = 0; i < width; i++) put(y + row * width + i, i == ids[row] ? 1.0f : 0.0f);
            });
        },
        call.out[0]);
}

// y[t, s] = 1 where token t sees key s.
void run_span_mask(const Call& call) {
    const int64_t T = call.out[0].shape[0];
    const int32_t* spans = call.in[0].as<int32_t>();
    with_types(
        [&](auto* y) {
            parallel_for(threads_for(call), T, [=](int64_t t) {
                const int32_t first = spans[2 * t], last = spans[2 * t + 1];
                for (int64_t s = 0; s < T; s++) put(y + t * T + s, s >= first && s <= last ? 1.0f : 0.0f);
            });
        },
        call.out[0]);
}

} // namespace

extern const Kernel literal_kernel = {"literal", no_workspace, prepare_literal};
extern const Kernel reshape_kernel = {"reshape", no_workspace, prepare_call<run_reshape>};
extern const Kernel shift_kernel = {"shift", no_workspace, prepare_shift};
extern const Kernel unary_kernel = {"unary", no_workspace, prepare_unary};
extern const Kernel binary_kernel = {"binary", no_workspace, prepare_binary};
extern const Kernel where_kernel = {"where", no_workspace, prepare_call<run_where>};
extern const Kernel pick_kernel = {"pick", no_workspace, prepare_pick};
extern const Kernel softmax_shift_kernel = {"softmax_shift", no_workspace, prepare_call<run_softmax_shift>};
extern const Kernel one_hot_kernel = {"one_hot", no_workspace, prepare_call<run_one_hot>};
extern const Kernel span_mask_kernel = {"span_mask", no_workspace, prepare_call<run_span_mask>};

} // namespace temper::TEMPER_ISA
