// What the optimisers share: their operands' checks, the `hyper` slot, and clipping by the global norm.
#pragma once
#include "expect.hpp"
#include "loops.hpp"

namespace temper::TEMPER_ISA {

struct Hyper {
    float lr, beta1, beta2, eps, bias1, bias2, max_norm, momentum;
};

// Inputs p, g, norm, hyper; outputs p and `states` more of p's shape.
inline void expect_optimizer(const Call& call, size_t states) {
    expect_counts(call, 4, 1 + states);
    const Tensor &p = call.in[0], &norm = call.in[2], &hyper = call.in[3];
    expect_dtype(call, p, "p", DType::f32);
    expect_dtype(call, call.in[1], "g", DType::f32);
    expect(call.in[1].elements() == p.elements(), call, "g and p differ in their number of elements");
    for (const Tensor& out : call.out) {
        expect_dtype(call, out, "every output", DType::f32);
        expect(out.elements() == p.elements(), call, "an output and p differ in their number of elements");
    }
    expect_dtype(call, norm, "norm", DType::f32);
    expect_shape(call, norm, "norm", {1});
    expect_dtype(call, hyper, "hyper", DType::f32);
    expect_shape(call, hyper, "hyper", {8});
    call.attrs.number("weight_decay");
}

inline const Hyper& hyper_of(const Call& call) { return *call.in[3].as<Hyper>(); }

// What gradients are multiplied by (torch.nn.utils.clip_grad_norm_).
inline float clip_factor(const Call& call) {
    const float max_norm = hyper_of(call).max_norm, norm = *call.in[2].as<float>();
    return max_norm == 0 ? 1.0f : std::min(1.0f, max_norm / (norm + 1e-6f));
}

} // namespace temper::TEMPER_ISA
