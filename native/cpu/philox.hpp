// Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words from a
// counter and a key, with no state, so that a number does not depend on who draws it or when.
#pragma once
#include "simd.hpp"

#include <array>

namespace temper::TEMPER_ISA {

constexpr uint32_t PHILOX_MULTIPLIERS[2] = {0xd2511f53u, 0xcd9e8d57u};
constexpr uint32_t PHILOX_WEYL[2] = {0x9e3779b9u, 0xbb67ae85u};

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    for (int round = 0; round < 10; round++) {
        const uint64_t a = static_cast<uint64_t>(PHILOX_MULTIPLIERS[0]) * counter[0];
        const uint64_t b = static_cast<uint64_t>(PHILOX_MULTIPLIERS[1]) * counter[2];
        counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
                   static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
        key[0] += PHILOX_WEYL[0];
        key[1] += PHILOX_WEYL[1];
    }
    return counter;
}

// The high and low words of the products of each lane with m.
inline void multiply(vu x, uint32_t m, vu& high, vu& low) {
#if defined(__AVX512F__)
    const __m512i even = _mm512_mul_epu32((__m512i)x, _mm512_set1_epi32(static_cast<int>(m)));
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)x, 32), _mm512_set1_epi32(static_cast<int>(m)));
    high = (vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    low = (vu)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
#elif defined(__AVX2__)
    const __m256i even = _mm256_mul_epu32((__m256i)x, _mm256_set1_epi32(static_cast<int>(m)));
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)x, 32), _mm256_set1_epi32(static_cast<int>(m)));
    high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
#else
    for (int i = 0; i < VL; i++) {
        const uint64_t product = static_cast<uint64_t>(x[i]) * m;
        high[i] = static_cast<uint32_t>(product >> 32);
        low[i] = static_cast<uint32_t>(product);
    }
#endif
}

// The same for VL counters at once: lane i of words[w] is word w of counter i.
inline void philox(vu counter[4], const uint32_t seed[2]) {
    uint32_t key[2] = {seed[0], seed[1]};
    for (int round = 0; round < 10; round++) {
        vu high0, low0, high1, low1;
        multiply(counter[0], PHILOX_MULTIPLIERS[0], high0, low0);
        multiply(counter[2], PHILOX_MULTIPLIERS[1], high1, low1);
        counter[0] = high1 ^ counter[1] ^ key[0];
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key[1];
        counter[3] = low0;
        key[0] += PHILOX_WEYL[0];
        key[1] += PHILOX_WEYL[1];
    }
}

// From words by counter to words in their order: 4 · VL words, word w of counter i at 4i + w.
inline void in_order(const vu words[4], uint32_t* to) {
    vu a[2], b[2], ordered[4];
    interleave(words[0], words[2], a[0], a[1]);
    interleave(words[1], words[3], b[0], b[1]);
    interleave(a[0], b[0], ordered[0], ordered[1]);
    interleave(a[1], b[1], ordered[2], ordered[3]);
    std::memcpy(to, ordered, sizeof ordered);
}

} // namespace temper::TEMPER_ISA
