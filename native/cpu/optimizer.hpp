// What the optimizers share: their operands' checks, and the factor that clips gradients by their global norm.
#pragma once
#include "expect.hpp"
#include "loops.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

// Inputs p, g, norm, max_norm and the optimizer's scalars; outputs p and `states` more of p's shape.
inline void expect_optimizer(const Call& call, size_t scalars, size_t states) {
    expect_counts(call, 5, 1 + states);
    const Tensor &p = call.in[0], &g = call.in[1];
    expect_dtype(call, p, "p", DType::f32);
    expect_dtype(call, g, "g", DType::f32);
    expect(g.elements() == p.elements(), call, "g and p differ in their number of elements");
    for (const Tensor& out : call.out) {
        expect_dtype(call, out, "every output", DType::f32);
        expect(out.elements() == p.elements(), call, "an output and p differ in their number of elements");
    }
    const char* names[] = {"norm", "max_norm", "scalars"};
    for (int i = 0; i < 3; i++) {
        expect_dtype(call, call.in[static_cast<size_t>(2 + i)], names[i], DType::f32);
        expect_shape(call, call.in[static_cast<size_t>(2 + i)], names[i], {i < 2 ? 1 : static_cast<int64_t>(scalars)});
    }
}

// False for a gradient with a NaN or an infinity in it, which must reach neither parameter nor state.
inline bool has_finite_norm(const Call& call) { return std::isfinite(*call.in[2].as<float>()); }

// What gradients are multiplied by: min(1, max_norm ÷ (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does; 1 where
// max_norm is 0.
inline float clip_factor(const Call& call) {
    const float norm = *call.in[2].as<float>(), max_norm = *call.in[3].as<float>();
    return max_norm == 0 ? 1.0f : std::min(1.0f, max_norm / (norm + 1e-6f));
}

} // namespace temper::TEMPER_ISA
