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

// The same to a relative 4e-7, at half the cost, for results that are rounded to bfloat16; 0 below −87.
inline vf sigmoid_fast(vf x) {
    vf power = x * splat(-1.44269504088896341f);
    power = power > splat(126.0f) ? splat(126.0f) : power; // written so that NaN stays
    const vf denominator = 1.0f + exp2_fast(power);
#if defined(__AVX512F__)
    const vf estimate = (vf)_mm512_rcp14_ps((__m512)denominator);
    return estimate * fma(-denominator, estimate, splat(2.0f)); // Newton's step: 14 bits become 28
#else
    return 1.0f / denominator;
#endif
}

} // namespace temper::TEMPER_ISA
