// The activation functions: what the attribute `fn` of glu and act may name. A new one is an entry here and one in
// graph/ops/activation.ts.
//
// Each gives its value and its slope at x, written once for every backend: `M` is a backend's arithmetic, with its number
// or vector `V`, `sigmoid`, `logistic` (σ(x), and the rest to 1), `normal` (the distribution function of the standard normal
// distribution, and its density), and `max` and `min` with a constant, which keep NaN. A factor is bounded where the other
// one is 0, so that infinity times 0 does not make NaN of a limit that is a number.
#pragma once
#include "expect.hpp"

#include <tuple>

namespace temper {

// x · σ(x) (Elfwing et al. 2017). Not bounded: infinity and NaN come of infinities, as in PyTorch.
struct Silu {
    static constexpr const char* name = "silu";
    template <class M> [[gnu::always_inline]] static typename M::Curve at(typename M::V x) {
        const auto s = M::sigmoid(x), y = x * s;
        return {y, s + y * (1.0f - s)};
    }
};

// x · Φ(x) (Hendrycks and Gimpel 2016).
struct Gelu {
    static constexpr const char* name = "gelu";
    template <class M> [[gnu::always_inline]] static typename M::Curve at(typename M::V x) {
        const auto phi = M::normal(x);
        const auto bounded = M::max(x, -15.0f);
        return {bounded * phi.cdf, phi.cdf + M::min(bounded, 15.0f) * phi.density};
    }
};

// Φ(x) as ½(1 + tanh √(2/π)(x + 0.044715 x³)), which is σ(2√(2/π)(x + 0.044715 x³)).
struct GeluTanh {
    static constexpr const char* name = "gelu_tanh";
    template <class M> [[gnu::always_inline]] static typename M::Curve at(typename M::V x) {
        constexpr float LINEAR = 1.59576912f, CUBIC = 0.0713548163f;
        const auto bounded = M::max(x, -12.0f), near = M::min(bounded, 12.0f), square = near * near;
        const auto s = M::logistic(near * (LINEAR + CUBIC * square));
        return {bounded * s.value, s.value + near * s.value * s.rest * (LINEAR + 3 * CUBIC * square)};
    }
};

// x · σ(1.702 x), as CLIP approximates GELU.
struct QuickGelu {
    static constexpr const char* name = "quick_gelu";
    template <class M> [[gnu::always_inline]] static typename M::Curve at(typename M::V x) {
        const auto bounded = M::max(x, -60.0f), z = 1.702f * M::min(bounded, 60.0f);
        const auto s = M::logistic(z);
        return {bounded * s.value, s.value + z * s.value * s.rest};
    }
};

// max(x, 0)² (So et al. 2021).
struct Relu2 {
    static constexpr const char* name = "relu2";
    template <class M> [[gnu::always_inline]] static typename M::Curve at(typename M::V x) {
        const auto positive = M::max(x, 0.0f);
        return {positive * positive, 2.0f * positive};
    }
};

using Activations = std::tuple<Silu, Gelu, GeluTanh, QuickGelu, Relu2>;

// Calls `use` with the activation function of that name; false where there is none.
template <class Use> bool with_activation(const std::string& fn, Use&& use) {
    return std::apply([&](auto... each) { return ((fn == each.name && (use(each), true)) || ...); }, Activations{});
}

inline void expect_activation(const Operands& record) {
    const std::string& fn = record.attrs.text("fn");
    if (with_activation(fn, [](auto) {})) return;
    std::string names;
    std::apply([&](auto... each) { ((names += (names.empty() ? "" : ", ") + std::string(each.name)), ...); }, Activations{});
    expect(false, record, "fn is '" + fn + "'; it must be one of " + names);
}

} // namespace temper
