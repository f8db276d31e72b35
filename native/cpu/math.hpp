// Elementary functions on vectors.
#pragma once
#include "simd.hpp"

namespace temper::TEMPER_ISA {

// 2^n for whole n in [-252, 254], as two factors: 2^(n/2) and the rest, neither of which over- or underflows.
inline vf times_power_of_two(vf x, vi n) {
    const vi half = n >> 1;
    return x * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
}

// e^x to 1 ulp, subnormal results included; 0 and infinity past the ends, NaN for NaN.
// Cephes' expf: e^x = 2^n · e^r with |r| ≤ ln 2 / 2, ln 2 in two parts, a polynomial of degree 7 for e^r.
inline vf exp(vf x) {
    x = x > splat(89.0f) ? splat(89.0f) : x; // written so that NaN stays
    x = x < splat(-104.0f) ? splat(-104.0f) : x;
    const vf shift = splat(0x1.8p23f); // adding it rounds to a whole number
    const vf shifted = fma(x, splat(1.44269504088896341f), shift);
    const vf n = shifted - shift;
    vf r = fma(n, splat(-0.693359375f), x);
    r = fma(n, splat(2.12194440e-4f), r);
    vf p = splat(1.9875691500e-4f);
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p * r, r, r) + 1.0f;
    return times_power_of_two(p, (vi)shifted - (vi)shift);
}

// 2^r for |r| ≤ 1/2.
inline vf exp2_of_fraction(vf r) {
    vf p = splat(1.3333558e-3f);
    p = fma(p, r, splat(9.6181291e-3f));
    p = fma(p, r, splat(5.5504109e-2f));
    p = fma(p, r, splat(2.4022651e-1f));
    p = fma(p, r, splat(6.9314718e-1f));
    return fma(p, r, splat(1.0f));
}

// 2^x for x ≤ 127, to a relative 3e-7 (a four-hundredth of a bfloat16 ulp); below −126 a subnormal number or 0. For
// softmax in bfloat16.
inline vf exp2_fast(vf x) {
#if defined(__AVX512DQ__)
    const __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
    const __m512 fraction = _mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT); // 0 for infinity
    return (vf)_mm512_scalef_ps((__m512)exp2_of_fraction((vf)fraction), whole);
#else
    x = x < splat(-127.0f) ? splat(-127.0f) : x;
    const vf shift = splat(0x1.8p23f);
    const vf shifted = x + shift;
    return exp2_of_fraction(x - (shifted - shift)) * (vf)(((vi)shifted - (vi)shift + 127) << 23);
#endif
}

inline vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }

// e^(−x) for the functions below: at most 2^126.
inline vf inverse_exp_fast(vf x) {
    const vf power = x * splat(-1.44269504088896341f);
    return exp2_fast(power > splat(126.0f) ? splat(126.0f) : power); // written so that NaN stays
}
inline vf reciprocal_fast(vf x) {
#if defined(__AVX512F__)
    const vf estimate = (vf)_mm512_rcp14_ps((__m512)x);
    return estimate * fma(-x, estimate, splat(2.0f)); // Newton's step: 14 bits become 28
#else
    return 1.0f / x;
#endif
}

// The same to a relative 4e-7, at half the cost, for results that are rounded to bfloat16; 0 below −87.
inline vf sigmoid_fast(vf x) { return reciprocal_fast(1.0f + inverse_exp_fast(x)); }

// σ(x) and 1 − σ(x), each to its own last places; from e^(−x).
struct Logistic {
    vf value, rest;
};
inline Logistic logistic(vf x) {
    const vf inverse = exp(-x), value = 1.0f / (1.0f + inverse);
    return {value, x > 0.0f ? inverse * value : 1.0f - value};
}
inline Logistic logistic_fast(vf x) {
    const vf inverse = inverse_exp_fast(x), value = reciprocal_fast(1.0f + inverse);
    return {value, x > 0.0f ? inverse * value : 1.0f - value};
}

// The standard normal distribution at x: Φ(x), and its density.
struct Normal {
    vf cdf, density;
};

// Both from e^(−x²/2), to a relative 3e-7 and what the exponential brings. Φ(−a) = e^(−a²/2) · t · p(t) with t = 4 ÷ (4 + a), p a
// polynomial of degree 8 for a in [0, 14.5] (minimax, relative 6e-8); past that the exponential is 0.
inline Normal normal_of(vf x, vf exponential) {
    vf a = x < 0.0f ? -x : x;
    a = a > splat(14.5f) ? splat(14.5f) : a; // written so that NaN stays
    const vf t = 4.0f / (4.0f + a);
    vf p = splat(2.517537918e-2f);
    p = fma(p, t, splat(-0.1501133167f));
    p = fma(p, t, splat(0.290475182f));
    p = fma(p, t, splat(-0.1992202778f));
    p = fma(p, t, splat(0.1971389222f));
    p = fma(p, t, splat(3.493967236e-2f));
    p = fma(p, t, splat(0.1032183651f));
    p = fma(p, t, splat(9.859320691e-2f));
    p = fma(p, t, splat(9.979283585e-2f));
    const vf tail = exponential * t * p;
    return {x > 0.0f ? 1.0f - tail : tail, exponential * 0.398942280f};
}

} // namespace temper::TEMPER_ISA
