// One vector type for every kernel set. A file of native/cpu/ is compiled once per set, with that set's flags and
// with TEMPER_ISA naming its namespace, so that no inline function of one set is ever linked into another.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef TEMPER_ISA
#error "TEMPER_ISA names the kernel set: portable, avx2, avx512, avx512_bf16"
#endif

namespace temper::TEMPER_ISA {

#if defined(__AVX512F__)
constexpr int VL = 16; // floats in a vector
#elif defined(__AVX2__)
constexpr int VL = 8;
#else
constexpr int VL = 4;
#endif

typedef float vf __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint16_t bf16;

inline float to_float(bf16 x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}
inline float to_float(float x) { return x; }

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16>((bits >> 16) | 0x40);
    return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

inline vf splat(float x) { return vf{} + x; }
inline vf load(const float* p) {
    vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }

inline vf load(const bf16* p) {
    vh half;
    std::memcpy(&half, p, sizeof half);
    vu wide = __builtin_convertvector(half, vu) << 16;
    vf v;
    std::memcpy(&v, &wide, sizeof v);
    return v;
}

inline void store(bf16* p, vf v) {
#if defined(__AVX512BF16__)
    __m512 x;
    std::memcpy(&x, &v, sizeof x);
    __m256bh y = _mm512_cvtneps_pbh(x);
    std::memcpy(p, &y, sizeof y);
#else
    vu bits;
    std::memcpy(&bits, &v, sizeof bits);
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    vu nan = (bits >> 16) | 0x40;
    vu is_nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vh half = __builtin_convertvector((is_nan & nan) | (~is_nan & rounded), vh);
    std::memcpy(p, &half, sizeof half);
#endif
}

inline void put(float* p, float x) { *p = x; }
inline void put(bf16* p, float x) { *p = to_bf16(x); }

// Sum of the lanes in a fixed order: pairs at distance VL/2, VL/4, … 1.
inline float sum(vf v) {
    float lanes[VL];
    std::memcpy(lanes, &v, sizeof v);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}
inline float maximum(vf v) {
    float lanes[VL];
    std::memcpy(lanes, &v, sizeof v);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    return lanes[0];
}
inline vf max(vf a, vf b) { return a > b ? a : b; }
inline vf min(vf a, vf b) { return a < b ? a : b; }

} // namespace temper::TEMPER_ISA
