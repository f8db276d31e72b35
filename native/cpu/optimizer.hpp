// What the optimizers share: the factor that clips gradients by their global norm.
#pragma once
#include "../ops/optimizer.hpp"
#include "loops.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

// False for a gradient with a NaN or an infinity in it, which must reach neither parameter nor state.
inline bool has_finite_norm(const Call& call) { return std::isfinite(*call.in[2].as<float>()); }

// What gradients are multiplied by: min(1, max_norm ÷ (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does; 1 where
// max_norm is 0.
inline float clip_factor(const Call& call) {
    const float norm = *call.in[2].as<float>(), max_norm = *call.in[3].as<float>();
    return max_norm == 0 ? 1.0f : std::min(1.0f, max_norm / (norm + 1e-6f));
}

} // namespace temper::TEMPER_ISA
