// What a packed panel consists of: 32-bit words along K, VL of them (one per row or column of the tile) to a vector.
//   Singles: a word is one float32, k by k.
//   Pairs:   a word is two bfloat16, k and k + 1, as AVX-512's vdpbf16ps takes them.
// Both read float32, bfloat16 and float16 sources and convert while packing.
#pragma once
#include "kernel.hpp"
#include "simd.hpp"

namespace temper::TEMPER_ISA {

inline vu load_words(const uint32_t* p) { return *reinterpret_cast<const vu*>(p); }
inline void store_words(uint32_t* p, vu v) { *reinterpret_cast<vu*>(p) = v; }

// The bfloat16 nearest to each lane, as a number below 2^16.
inline vu bf16_bits(vf v) {
    bf16 rounded[VL];
    store(rounded, v);
    vh half;
    std::memcpy(&half, rounded, sizeof half);
    return __builtin_convertvector(half, vu);
}

// ROUND: the factors of a bf16 product on a CPU without bf16 instructions. Rounded to bfloat16 they are still float32,
// so the products are the same numbers.
template <bool ROUND> struct Singles {
    static constexpr int k_per_word = 1;

    // True when the rows of a matrix of this type, as they lie, are words.
    static constexpr bool in_place(DType dtype) { return !ROUND && dtype == DType::f32; }

    static vu convert(vf v) {
        if constexpr (ROUND) return bf16_bits(v) << 16;
        return (vu)v;
    }
    // The VL words of p[0] … p[VL · k_per_word - 1].
    template <class Source> static vu along(const Source* p) { return convert(load(p)); }
    // Word j holds column j of the k_per_word rows at p, ld apart.
    template <class Source> static vu across(const Source* p, int64_t) { return convert(load(p)); }

    static vf multiply_add(vf sum, uint32_t a, vu b) {
        float x;
        std::memcpy(&x, &a, sizeof x);
        return sum + splat(x) * (vf)b;
    }
};
template <> template <> inline vu Singles<true>::along(const bf16* p) { return (vu)load(p); }
template <> template <> inline vu Singles<true>::across(const bf16* p, int64_t) { return (vu)load(p); }

#if defined(__AVX512BF16__)
struct Pairs {
    static constexpr int k_per_word = 2;
    static constexpr bool in_place(DType dtype) { return dtype == DType::bf16; }

    template <class Source> static vu along(const Source* p) {
        const vf low = load(p), high = load(p + VL);
        return (vu)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    }
    static vu along(const bf16* p) { return load_words(reinterpret_cast<const uint32_t*>(p)); }
    template <class Source> static vu across(const Source* p, int64_t ld) {
        const vf first = load(p), second = load(p + ld);
        return (vu)zip((__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
    }
    static vu across(const bf16* p, int64_t ld) {
        const auto half = [](const bf16* row) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)); };
        return (vu)zip(_mm512_inserti64x4(_mm512_castsi256_si512(half(p)), half(p + ld), 1));
    }
    static vf multiply_add(vf sum, uint32_t a, vu b) {
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)), (__m512bh)b);
    }
};
using Bf16Words = Pairs;
#else
using Bf16Words = Singles<true>;
#endif
using F32Words = Singles<false>;

} // namespace temper::TEMPER_ISA
