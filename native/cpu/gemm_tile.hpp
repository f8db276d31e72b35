// The micro-kernel: a tile of ROWS × (VECTORS · VL) sums held in registers while K runs past.
#pragma once
#include "gemm_words.hpp"

namespace temper::TEMPER_ISA {

// TILE_SUMS accumulators, TILE_VECTORS of b and one of a fill the registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_VECTORS = 3, TILE_SUMS = 24;
#else
constexpr int TILE_VECTORS = 2, TILE_SUMS = 12;
#endif
constexpr int TILE_COLUMNS = TILE_VECTORS * VL, TILE_ROWS = TILE_SUMS / TILE_VECTORS;

// The part of one product that a tile adds without interruption: `words` words of K.
struct Strip {
    const char* a;      // packed: [words][ROWS]; otherwise row-major, `row_stride` bytes from row to row
    int64_t row_stride;
    bool packed;
    const uint32_t* b;  // [words][VECTORS · VL]
    int64_t words;
    float rescale;      // what the sums so far are multiplied with first
};

template <class Words, int ROWS, int VECTORS, bool PACKED>
[[gnu::always_inline]] inline void multiply(vf (&sums)[ROWS][VECTORS], const Strip& strip) {
    const char* a = strip.a;
    const uint32_t* b = strip.b;
    const int64_t row_stride = PACKED ? 4 : strip.row_stride;
    for (int64_t w = 0; w < strip.words; w++) {
        vu columns[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) columns[j] = load_words(b + j * VL);
#pragma GCC unroll 24
        for (int i = 0; i < ROWS; i++) {
            uint32_t word;
            std::memcpy(&word, a + i * row_stride, sizeof word);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++) sums[i][j] = Words::multiply_add(sums[i][j], word, columns[j]);
        }
        a += PACKED ? ROWS * 4 : 4;
        b += VECTORS * VL;
    }
}

// sums: [ROWS][VECTORS · VL] float32, added to when `resume` and overwritten otherwise.
template <class Words, int ROWS, int VECTORS> void tile(const Strip* strips, int count, float* result, bool resume) {
    vf sums[ROWS][VECTORS];
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) sums[i][j] = resume ? load(result + (i * VECTORS + j) * VL) : vf{};
    for (int s = 0; s < count; s++) {
        if (strips[s].rescale != 1)
#pragma GCC unroll 24
            for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++) sums[i][j] *= splat(strips[s].rescale);
        if (strips[s].packed)
            multiply<Words, ROWS, VECTORS, true>(sums, strips[s]);
        else
            multiply<Words, ROWS, VECTORS, false>(sums, strips[s]);
    }
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) store(result + (i * VECTORS + j) * VL, sums[i][j]);
}

using Tile = void (*)(const Strip*, int, float*, bool);

// The tiles that exist: as many rows as the registers hold, and smaller ones for what is left at the bottom.
template <class Words, int VECTORS> Tile tile_of_rows(int rows) {
    switch (rows) {
#define TEMPER_TILE(ROWS)                                                                                              \
    case ROWS:                                                                                                         \
        if constexpr (ROWS * VECTORS <= TILE_SUMS) return tile<Words, ROWS, VECTORS>;                                  \
        break;
        TEMPER_TILE(24)
        TEMPER_TILE(12)
        TEMPER_TILE(8)
        TEMPER_TILE(6)
        TEMPER_TILE(4)
        TEMPER_TILE(2)
        TEMPER_TILE(1)
#undef TEMPER_TILE
    }
    return nullptr;
}

template <class Words> Tile find_tile(int rows, int vectors) {
    if constexpr (TILE_VECTORS >= 3)
        if (vectors == 3) return tile_of_rows<Words, 3>(rows);
    return vectors == 2 ? tile_of_rows<Words, 2>(rows) : tile_of_rows<Words, 1>(rows);
}

// Rows of a tile when `left` rows remain and a tile may have `full`.
inline int rows_of_tile(int64_t left, int full) {
    if (left >= full) return full;
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

} // namespace temper::TEMPER_ISA
