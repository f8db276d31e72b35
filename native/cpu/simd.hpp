// One vector type for every kernel set. A file of native/cpu/ is compiled once per set, with that set's flags and
// with TEMPER_ISA naming its namespace; CMakeLists.txt keeps what else it emits, the inline functions it shares with
// the rest, from being linked into anything but the set.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#pragma GCC diagnostic push // GCC 12's own header warns about its undefined registers (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
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

using vf [[gnu::vector_size(VL * 4), gnu::aligned(4), gnu::may_alias]] = float;
using vi [[gnu::vector_size(VL * 4), gnu::aligned(4), gnu::may_alias]] = int32_t;
using vu [[gnu::vector_size(VL * 4), gnu::aligned(4), gnu::may_alias]] = uint32_t;
using vh [[gnu::vector_size(VL * 2), gnu::aligned(2), gnu::may_alias]] = uint16_t;
using bf16 = uint16_t;
struct f16 { // IEEE half precision: read, never computed in
    uint16_t bits;
};

inline float to_float(bf16 x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}
inline float to_float(float x) { return x; }
inline float to_float(f16 x) {
    const uint32_t magnitude = x.bits & 0x7fffu, sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
    uint32_t bits;
    if (magnitude >= 0x7c00u) {
        bits = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13; // infinity, NaN
    } else {
        // Shifted into a float the exponent is off by 127 - 15; the product also makes subnormals normal.
        bits = magnitude << 13;
        float scaled;
        std::memcpy(&scaled, &bits, 4);
        scaled *= 0x1p112f;
        std::memcpy(&bits, &scaled, 4);
        bits |= sign;
    }
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<bf16>((bits >> 16) | 0x40);
    return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

inline vf splat(float x) { return vf{} + x; }
inline vf load(const float* p) { return *reinterpret_cast<const vf*>(p); }
inline void store(float* p, vf v) { *reinterpret_cast<vf*>(p) = v; }

inline vf load(const bf16* p) {
#if defined(__AVX512F__)
    vu wide = (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
    vu wide = (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    vu wide = __builtin_convertvector(*reinterpret_cast<const vh*>(p), vu);
#endif
    return (vf)(wide << 16);
}

inline void store(bf16* p, vf v) {
#if defined(__AVX512BF16__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    vu bits = (vu)v;
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    vu nan = (bits >> 16) | 0x40;
    vu is_nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vu half = (is_nan & nan) | (~is_nan & rounded);
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16((__m512i)half));
#elif defined(__AVX2__)
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)half, (__m256i)half), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
#else
    *reinterpret_cast<vh*>(p) = __builtin_convertvector(half, vh);
#endif
#endif
}

inline vf load(const f16* p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    vf v;
    for (int i = 0; i < VL; i++) v[i] = to_float(p[i]);
    return v;
#endif
}

// How many lanes of a vector are meant: all of them, or the first `count` (the tail of a row). Kernels take either,
// so that a tail is computed by the same instructions, and to the same bits, as the rest.
struct Whole {};
struct Part {
    int count;
};
template <class T> vf load(const T* p, Whole) { return load(p); }
template <class T> vf load(const T* p, Part part) { // lanes past the end are 0
    T lanes[VL] = {};
    for (int i = 0; i < part.count; i++) lanes[i] = p[i];
    return load(lanes);
}
template <class T> void store(T* p, vf v, Whole) { store(p, v); }
template <class T> void store(T* p, vf v, Part part) {
    T lanes[VL];
    store(lanes, v);
    for (int i = 0; i < part.count; i++) p[i] = lanes[i];
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
// a * b + c, rounded once where the set has the instruction.
inline vf fma(vf a, vf b, vf c) {
    return a * b + c; // contracted: the sets are compiled with -ffp-contract=fast
}
inline vf sqrt(vf v) { // correctly rounded
    for (int i = 0; i < VL; i++) v[i] = std::sqrt(v[i]);
    return v;
}
inline vf max(vf a, vf b) { return a > b ? a : b; }
inline vf min(vf a, vf b) { return a < b ? a : b; }

#if defined(__AVX512BW__)
// The lower and the upper sixteen of 32 halves of words, in turns.
inline __m512i zip(__m512i halves) {
    alignas(64) static constexpr uint16_t TURNS[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(TURNS), halves);
}
#endif

// Lane i of a, then lane i of b, for the lower and for the upper half of the lanes.
inline void interleave(vu a, vu b, vu& lower, vu& upper) {
    vi low, high;
    for (int i = 0; i < VL / 2; i++) {
        low[2 * i] = i, low[2 * i + 1] = VL + i;
        high[2 * i] = VL / 2 + i, high[2 * i + 1] = VL + VL / 2 + i;
    }
    lower = __builtin_shuffle(a, b, low);
    upper = __builtin_shuffle(a, b, high);
}

// Transposes a VL × VL matrix of words: log₂ VL rounds of interleaving row i with row i + VL/2.
inline void transpose(vu (&rows)[VL]) {
    for (int round = 1; round < VL; round *= 2) {
        vu next[VL];
        for (int i = 0; i < VL / 2; i++) interleave(rows[i], rows[i + VL / 2], next[2 * i], next[2 * i + 1]);
        for (int i = 0; i < VL; i++) rows[i] = next[i];
    }
}

} // namespace temper::TEMPER_ISA
