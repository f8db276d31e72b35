// Packing: from a row-major matrix to the words that the tile reads in sequence.
#pragma once
#include "gemm_tile.hpp"
#include "loops.hpp"

#include <algorithm>

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

// From columns of words to [word][width]: K runs along the rows of the source (op(b) of a transposed b, N rows of K).
// Rows past `rows` become zeros. width: a multiple of VL.
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
                for (int r = 0; r < VL; r++) block[r] = Words::along(p + r * ld);
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

// From rows of K to [word][width]: K runs down the source (op(b) of a plain b, op(a) of a transposed a). Columns past
// `columns` become zeros. The general case, for edges.
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

// The same where every vector lies within the matrix and K is whole words.
template <class Words, int WIDTH, class Source>
void pack_straight_whole(const Source* source, int64_t ld, int64_t k, uint32_t* out) {
    constexpr int whole = WIDTH / VL * VL, rest = WIDTH - whole;
    for (int64_t i = 0; i < k; i += Words::k_per_word, source += Words::k_per_word * ld, out += WIDTH) {
#pragma GCC unroll 4
        for (int column = 0; column < whole; column += VL)
            store_words(out + column, Words::across(source + column, ld));
        if constexpr (rest > 0) {
            const vu words = Words::across(source + whole, ld);
            std::memcpy(out + whole, &words, rest * 4);
        }
    }
}

template <class Words, class Source>
void pack_straight(const Source* source, int64_t ld, int64_t k, int64_t columns, int width, uint32_t* out) {
    const int64_t whole_k = columns >= round_up(width, VL) ? k / Words::k_per_word * Words::k_per_word : 0;
    if (width == TILE_COLUMNS)
        pack_straight_whole<Words, TILE_COLUMNS>(source, ld, whole_k, out);
    else if (width == TILE_ROWS)
        pack_straight_whole<Words, TILE_ROWS>(source, ld, whole_k, out);
    else if (width == TILE_SUMS)
        pack_straight_whole<Words, TILE_SUMS>(source, ld, whole_k, out);
    else
        return pack_straight_edge<Words>(source, ld, k, columns, width, out);
    pack_straight_edge<Words>(source + whole_k * ld, ld, k - whole_k, columns, width,
                              out + whole_k / Words::k_per_word * width);
}

} // namespace temper::TEMPER_ISA
