// swiglu: h = gate · σ(gate) · up (Shazeer 2020), and its gradient. The sigmoid is recomputed rather than stored.
#include "loops.hpp"
#include "math.hpp"

#include <type_traits>

namespace temper::TEMPER_ISA {

// The sigmoid in the precision that outputs of type Y can hold.
template <class Y> static vf sigmoid_for(vf x) {
    if constexpr (std::is_same_v<Y, bf16>)
        return sigmoid_fast(x);
    else
        return sigmoid(x);
}

static void run_swiglu(const Call& call) {
    with_types(
        [&](auto* gate, auto* up, auto* h) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                const vf g = load(gate + i, lanes), s = sigmoid_for<std::remove_pointer_t<decltype(h)>>(g);
                store(h + i, g * s * load(up + i, lanes), lanes);
            });
        },
        call.in[0], call.in[1], call.out[0]);
}

// Gradient. With s = σ(gate): dgate = dh · up · s · (1 + gate · (1 − s)), dup = dh · gate · s.

static void run_swiglu_grad(const Call& call) {
    with_types(
        [&](auto* dh, auto* gate, auto* up, auto* dgate, auto* dup) {
            constexpr bool both_bf16 = std::is_same_v<decltype(dgate), bf16*> && std::is_same_v<decltype(dup), bf16*>;
            using Y = std::conditional_t<both_bf16, bf16, float>;
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                const vf d = load(dh + i, lanes), g = load(gate + i, lanes), u = load(up + i, lanes);
                const vf s = sigmoid_for<Y>(g), silu = g * s;
                store(dgate + i, d * u * (s + silu * (1.0f - s)), lanes);
                store(dup + i, d * silu, lanes);
            });
        },
        call.in[0], call.in[1], call.in[2], call.out[0], call.out[1]);
}

extern const Kernel swiglu_kernel = {"swiglu", no_workspace, prepare_call<run_swiglu>};
extern const Kernel swiglu_grad_kernel = {"swiglu_grad", no_workspace, prepare_call<run_swiglu_grad>};

} // namespace temper::TEMPER_ISA
