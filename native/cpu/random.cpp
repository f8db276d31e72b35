// random_normal and random_uniform: initial values of trained parameters, element by element from a counter. The
// transform is computed in double precision and rounded once, so that every kernel set gives the same values.
#include "loops.hpp"
#include "philox.hpp"

#include <cmath>
#include <numbers>

namespace temper::TEMPER_ISA {

// transform(words, values) makes four elements of four words.
template <class F> static void generate(const Call& call, uint64_t seed, uint32_t site, F transform) {
    const Tensor& y = call.out[0];
    const int64_t n = y.elements();
    float* to = y.as<float>();
    constexpr int64_t CHUNK = 4096;
    parallel_for(call.threads, ceil_div(n, CHUNK), [=](int64_t c) {
        for (int64_t i = c * CHUNK; i < std::min(n, (c + 1) * CHUNK); i += 4) {
            const uint64_t block = static_cast<uint64_t>(i / 4);
            const auto words = philox({static_cast<uint32_t>(block), site, 0x7e3du, static_cast<uint32_t>(block >> 32)},
                                      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
            float values[4];
            transform(words, values);
            std::copy_n(values, std::min<int64_t>(4, n - i), to + i);
        }
    });
}

template <class F> static std::unique_ptr<Prepared> prepare_generator(const Call& call, F transform) {
    const uint64_t seed = static_cast<uint64_t>(call.attrs.integer("seed"));
    const uint32_t site = static_cast<uint32_t>(call.attrs.integer("site"));
    return prepared([&call, seed, site, transform](bool) { generate(call, seed, site, transform); });
}

// Box & Muller 1958: r = √(−2 ln u₁) and the angle 2π u₂ give r cos, r sin, from words 0 and 1, then 2 and 3.
// u₁ = (word + 1) ÷ 2³² is never 0.
static std::unique_ptr<Prepared> prepare_random_normal(const Call& call) {
    const double std = call.attrs.number("std");
    return prepare_generator(call, [=](const std::array<uint32_t, 4>& words, float* values) {
        for (int half = 0; half < 4; half += 2) {
            const double r = std * std::sqrt(-2.0 * std::log((words[half] + 1.0) * 0x1p-32));
            const double angle = 2.0 * std::numbers::pi * (words[half + 1] * 0x1p-32);
            values[half] = static_cast<float>(r * std::cos(angle));
            values[half + 1] = static_cast<float>(r * std::sin(angle));
        }
    });
}

// The upper 24 bits of a word are exact in a float, so bound itself is never reached.
static std::unique_ptr<Prepared> prepare_random_uniform(const Call& call) {
    const float bound = static_cast<float>(call.attrs.number("bound"));
    return prepare_generator(call, [=](const std::array<uint32_t, 4>& words, float* values) {
        for (int i = 0; i < 4; i++) values[i] = bound * (static_cast<float>(words[i] >> 8) * 0x1p-23f - 1.0f);
    });
}

extern const Kernel random_normal_kernel = {"random_normal", no_workspace, prepare_random_normal};
extern const Kernel random_uniform_kernel = {"random_uniform", no_workspace, prepare_random_uniform};

} // namespace temper::TEMPER_ISA
