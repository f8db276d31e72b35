// Packing: from a row-major matrix to the words that the tile reads in sequence.
#pragma once
#include "gemm_tile.hpp"
#include "loops.hpp"

#include <algorithm>
#include <numeric>

namespace temper::TEMPER_ISA {

// `count` elements at p, and zeros up to `size`: what a vector may read at the edge of a matrix.
template <class Source, int SIZE> struct Edge {
    Source values[SIZE] = {};
    Edge(const Source* p, int64_t count) { std::memcpy(values, p, static_cast<size_t>(count) * sizeof(Source)); }
};

// The words of row p[0] … p[k - 1], padded with zeros to a whole word; `out` has room for whole vectors.
template <class Words, class Source> inline void pack_row(const Source* p, int64_t k, uint32_t* out) {
    constexpr int step = VL * Words::k_per_word;
    int64_t i = 0;
    for (; i + step <= k; i += step, out += VL) store_words(out, Words::along(p + i));
    if (i < k) store_words(out, Words::along(Edge<Source, step>(p + i, k - i).values));
}

// From columns of words to [word][width]: K runs along the rows of the source (op(b) of a transposed b, N rows of K),
// and the rows of the next panel are fetched meanwhile. Rows past `rows` become zeros. width: a multiple of VL.
template <class Words, class Source>
void pack_transposed(const Source* source, int64_t ld, int64_t k, int64_t rows, int width, uint32_t* out) {
    constexpr int step = VL * Words::k_per_word;
    const int64_t words = (k + Words::k_per_word - 1) / Words::k_per_word;
    for (int column = 0; column < width; column += VL) {
        const int64_t valid = std::min<int64_t>(VL, rows - column);
        for (int64_t w = 0; w < words; w += VL) {
            const int64_t left = k - w * Words::k_per_word;
            const Source* p = source + column * ld + w * Words::k_per_word;
            vu block[VL];
            if (valid == VL && left >= step) {
#pragma GCC unroll 16
                for (int r = 0; r < VL; r++) {
                    __builtin_prefetch(p + (TILE_COLUMNS + r) * ld, 0, 2);
                    block[r] = Words::along(p + r * ld);
                }
            } else {
                for (int r = 0; r < VL; r++)
                    block[r] = r < valid ? Words::along(Edge<Source, step>(p + r * ld, std::min<int64_t>(left, step)).values)
                                         : vu{};
            }
            transpose(block);
            uint32_t* to = out + w * width + column;
            if (words - w >= VL) {
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) store_words(to + i * width, block[i]);
            } else {
                for (int i = 0; i < words - w; i++) store_words(to + i * width, block[i]);
            }
        }
    }
}

// From rows of K to one panel [word][width]: K runs down the source (op(b) of a plain b, op(a) of a transposed a).
// Columns past `columns` become zeros. The general case, for edges.
template <class Words, class Source>
void pack_straight_edge(const Source* source, int64_t ld, int64_t k, int64_t columns, int width, uint32_t* out) {
    constexpr int per_word = Words::k_per_word;
    for (int64_t w = 0; w * per_word < k; w++, source += per_word * ld, out += width) {
        const int64_t rows = std::min<int64_t>(per_word, k - w * per_word);
        for (int column = 0; column < width; column += VL) {
            Source edge[per_word * VL] = {};
            const int64_t valid = std::min<int64_t>(VL, columns - column);
            for (int64_t r = 0; r < rows; r++)
                std::memcpy(edge + r * VL, source + r * ld + column, static_cast<size_t>(valid) * sizeof(Source));
            uint32_t lanes[VL];
            store_words(lanes, Words::across(edge, VL));
            std::memcpy(out + column, lanes, static_cast<size_t>(std::min(VL, width - column)) * 4);
        }
    }
}

// The same for all panels side by side, `panel` words apart, where their columns come in whole vectors and K in whole
// words. A row is read through all panels before the next one, and fetched a few rows before that: a panel alone would
// take a line or two of it and jump to another page.
template <class Words, int WIDTH, class Source>
void pack_panels(const Source* source, int64_t ld, int64_t words, int64_t columns, int64_t panel, uint32_t* out) {
    constexpr int step = std::lcm(WIDTH, VL), piece = std::gcd(WIDTH, VL);
    constexpr int per_word = Words::k_per_word, ahead = 32;
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(Source));
    for (int64_t w = 0; w < words; w++, source += per_word * ld, out += WIDTH) {
        for (int r = 0; r < per_word; r++)
            for (int64_t c = 0; c < columns; c += line) __builtin_prefetch(source + (ahead + r) * ld + c, 0, 2);
        uint32_t* to = out;
        for (int64_t c = 0; c < columns; c += step, to += step / WIDTH * panel)
#pragma GCC unroll 8
            for (int v = 0; v < step; v += VL) {
                const vu lanes = Words::across(source + c + v, ld);
#pragma GCC unroll 8
                for (int i = v; i < v + VL; i += piece)
                    std::memcpy(to + i / WIDTH * panel + i % WIDTH, reinterpret_cast<const uint32_t*>(&lanes) + (i - v),
                                piece * 4);
            }
    }
}

// From `columns` columns to panels of `width`, `panel` words apart. The last panel may be cut; what it lacks is zeros.
template <class Words, class Source>
void pack_straight(const Source* source, int64_t ld, int64_t k, int64_t columns, int width, int64_t panel,
                   uint32_t* out) {
    const int64_t words = k / Words::k_per_word, step = std::lcm(width, VL);
    int64_t whole = columns / step * step;
    if (width == TILE_COLUMNS)
        pack_panels<Words, TILE_COLUMNS>(source, ld, words, whole, panel, out);
    else if (width == TILE_ROWS)
        pack_panels<Words, TILE_ROWS>(source, ld, words, whole, panel, out);
    else if (width == TILE_SUMS / 2)
        pack_panels<Words, TILE_SUMS / 2>(source, ld, words, whole, panel, out);
    else if (width == TILE_SUMS)
        pack_panels<Words, TILE_SUMS>(source, ld, words, whole, panel, out);
    else
        whole = 0;
    const int64_t packed = words * Words::k_per_word;
    for (int64_t c = 0; c < columns; c += width, out += panel) {
        const int64_t from = c < whole ? packed : 0;
        if (from < k)
            pack_straight_edge<Words>(source + from * ld + c, ld, k - from, columns - c, width,
                                      out + from / Words::k_per_word * width);
    }
}

} // namespace temper::TEMPER_ISA
