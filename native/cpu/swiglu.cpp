// swiglu: h = gate · σ(gate) · up (Shazeer 2020), and its gradient. The sigmoid is recomputed rather than stored.
#include "expect.hpp"
#include "loops.hpp"
#include "math.hpp"

namespace temper::TEMPER_ISA {

static void expect_all(const Call& call, const Tensor& like) {
    expect_rank(call, like, "gate", 2);
    for (const auto* tensors : {&call.in, &call.out})
        for (const Tensor& tensor : *tensors) {
            expect_float(call, tensor, "every tensor");
            expect_shape(call, tensor, "a tensor", {like.shape[0], like.shape[1]});
        }
}

static void check_swiglu(const Call& call) {
    expect_counts(call, 2, 1);
    expect_all(call, call.in[0]);
}

static void run_swiglu(Call& call) {
    with_types(
        [&](auto* gate, auto* up, auto* h) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                const vf g = load(gate + i, lanes);
                store(h + i, g * sigmoid(g) * load(up + i, lanes), lanes);
            });
        },
        call.in[0], call.in[1], call.out[0]);
}

// Gradient. With s = σ(gate): dgate = dh · up · s · (1 + gate · (1 − s)), dup = dh · gate · s.

static void check_swiglu_grad(const Call& call) {
    expect_counts(call, 3, 2);
    expect_all(call, call.in[1]);
}

static void run_swiglu_grad(Call& call) {
    with_types(
        [&](auto* dh, auto* gate, auto* up, auto* dgate, auto* dup) {
            each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
                const vf d = load(dh + i, lanes), g = load(gate + i, lanes), u = load(up + i, lanes);
                const vf s = sigmoid(g), silu = g * s;
                store(dgate + i, d * u * (s + silu * (1.0f - s)), lanes);
                store(dup + i, d * silu, lanes);
            });
        },
        call.in[0], call.in[1], call.in[2], call.out[0], call.out[1]);
}

extern const Op swiglu_op = {"swiglu", check_swiglu, no_workspace, run_swiglu};
extern const Op swiglu_grad_op = {"swiglu_grad", check_swiglu_grad, no_workspace, run_swiglu_grad};

} // namespace temper::TEMPER_ISA
