// What attention and its gradient are built from: the product of two factors in registers, in float32 or in bfloat16
// pairs, and the packing of rows into the order in which that product reads them.
//
// Names: T tokens, H query heads, G key/value heads, K head size. A *panel* is `PANEL` columns of the right factor.
#pragma once
#include "gemm.hpp"
#include "loops.hpp"
#include "math.hpp"
#include "scratch.hpp"

#include <cmath>
#include <vector>

namespace temper::TEMPER_ISA {

#if defined(__AVX512F__) || defined(__aarch64__) // 32 vector registers
constexpr int TILE_ROWS = 8;
#else
constexpr int TILE_ROWS = 4;
#endif
constexpr int TILE_VECTORS = 2;
constexpr int PANEL = TILE_VECTORS * VL;
constexpr int BLOCK = 64; // tokens: the unit of tasks and of packing, a multiple of `PANEL` and of `TILE_ROWS`

// How products are computed: `pair` elements along the sum are adjacent in both factors, so that one 32-bit word of
// the left factor is broadcast at a time, and exponentials are taken in the units of `unit` (powers of e or of 2).
struct Float32 {
    using Element = float;
    using Factor = vf;
    static constexpr int pair = 1;
    static constexpr double unit = 1.0;
    static vf broadcast(const float* a) { return splat(*a); }
    static vf multiply_add(vf a, vf b, vf sum) { return fma(a, b, sum); }
    static vf power(vf x) { return exp(x); }
};

#if defined(__AVX512BF16__)
struct BFloat16 {
    using Element = bf16;
    using Factor = vu;
    static constexpr int pair = 2;
    static constexpr double unit = 1.44269504088896341; // log₂ e
    static vu broadcast(const bf16* a) { return vu{} + *reinterpret_cast<const Word*>(a); }
    static vf multiply_add(vu a, vu b, vf sum) {
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
    static vf power(vf x) { return exp2_fast(x); }

  private:
    using Word [[gnu::aligned(2), gnu::may_alias]] = uint32_t;
};
#endif

// acc[i][j] += Σ over `steps` steps of a[i] · b[j]. Row i of `a` begins at i · row_stride and goes on by `a_step`;
// `b` is a panel, `PANEL` words a step.
template <class P, int rows>
[[gnu::always_inline]] inline void multiply(const typename P::Element* a, int64_t row_stride, int64_t a_step,
                                            const typename P::Element* b, int64_t steps,
                                            vf (&acc)[rows][TILE_VECTORS]) {
    using Factor [[gnu::aligned(2), gnu::may_alias]] = typename P::Factor;
    for (int64_t s = 0; s < steps; s++, a += a_step, b += PANEL * P::pair) {
        Factor right[TILE_VECTORS];
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) right[j] = *reinterpret_cast<const Factor*>(b + j * VL * P::pair);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const Factor left = P::broadcast(a + i * row_stride);
#pragma GCC unroll 2
            for (int j = 0; j < TILE_VECTORS; j++) acc[i][j] = P::multiply_add(left, right[j], acc[i][j]);
        }
    }
}

template <int rows> [[gnu::always_inline]] inline void load_tile(const float* from, int64_t stride, vf (&acc)[rows][TILE_VECTORS]) {
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) acc[i][j] = load(from + i * stride + j * VL);
}

template <int rows> [[gnu::always_inline]] inline void store_tile(float* to, int64_t stride, const vf (&acc)[rows][TILE_VECTORS]) {
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) store(to + i * stride + j * VL, acc[i][j]);
}

// to [rows, columns] (+)= the product of `rows` (a multiple of TILE_ROWS) rows of a with panels of b that lie
// panel_stride apart.
template <class P>
[[gnu::always_inline]] inline void multiply_rows(int rows, int64_t columns, const typename P::Element* a, int64_t row_stride, int64_t a_step,
                          const typename P::Element* b, int64_t panel_stride, int64_t steps, float* to,
                          int64_t to_stride, bool accumulate) {
    for (int i = 0; i < rows; i += TILE_ROWS)
        for (int64_t column = 0; column < columns; column += PANEL) {
            vf acc[TILE_ROWS][TILE_VECTORS] = {};
            float* tile = to + i * to_stride + column;
            if (accumulate) load_tile(tile, to_stride, acc);
            multiply<P>(a + i * row_stride, row_stride, a_step, b + column / PANEL * panel_stride, steps, acc);
            store_tile(tile, to_stride, acc);
        }
}

// The shape of a call, and the sizes it is padded to.
struct Attention {
    int64_t T, H, G, K;
    int64_t group;    // query heads per key/value head
    int64_t padded_T; // whole blocks
    int64_t K_sum;    // head size as the length of a sum: whole pairs
    int64_t K_columns; // head size as columns: whole panels
    float scale;

    Attention(const Call& call, const Tensor& q, const Tensor& k)
        : T(q.shape[0]), H(q.shape[1] / call.attrs.integer("head_dim")), G(k.shape[1] / call.attrs.integer("head_dim")),
          K(call.attrs.integer("head_dim")), group(H / G), padded_T(round_up(T, BLOCK)), K_sum(round_up(K, 2)),
          K_columns(round_up(K, PANEL)), scale(static_cast<float>(call.attrs.number("scale"))) {}

    int64_t blocks() const { return padded_T / BLOCK; }
};

// The first and the last key that each token sees; neither decreases from one token to the next. Padding tokens have a first key
// after the end, so they see none.
struct Spans {
    int32_t *first, *last; // [padded T]

    void read(const Tensor& spans, int64_t T, int64_t padded_T) const {
        const int32_t* pairs = spans.as<int32_t>();
        for (int64_t t = 0; t < padded_T; t++) {
            first[t] = t < T ? pairs[2 * t] : static_cast<int32_t>(padded_T);
            last[t] = t < T ? pairs[2 * t + 1] : static_cast<int32_t>(t);
        }
    }

    // Whether a token among `rows` from `row` on does not see all of the keys [key, key + PANEL).
    bool hide_some(int64_t row, int rows, int64_t key) const { return key + PANEL - 1 > last[row] || key < first[row + rows - 1]; }

    // Which of VL keys from `key` on the token sees.
    vi visible(int64_t key, int64_t token) const {
        vi keys;
        for (int i = 0; i < VL; i++) keys[i] = i;
        keys += static_cast<int32_t>(key);
        return (keys <= vi{} + last[token]) & (keys >= vi{} + first[token]);
    }
};

// A head's part of a row lies a token away from the next one, so those that follow are fetched some rows ahead.
template <bool FOR_WRITING, class E> inline void fetch_ahead(const E* row, int64_t width, int64_t columns) {
    constexpr int64_t ROWS = 32, LINE = 64 / static_cast<int64_t>(sizeof(E));
    for (int64_t j = 0; j < columns; j += LINE) __builtin_prefetch(row + ROWS * width + j, FOR_WRITING);
}

// One head's `count` rows of x from token t on: to [count, K_sum], zero where there is no token or column.
template <class E>
inline void load_rows(const Tensor& x, int64_t t, int64_t count, int64_t head, const Attention& a, E* to) {
    const int64_t width = x.shape[1];
    with_types(
        [&](auto* from) {
            using Source = std::remove_cv_t<std::remove_pointer_t<decltype(from)>>;
            for (int64_t i = 0; i < count; i++, to += a.K_sum) {
                const int64_t filled = t + i < a.T ? a.K : 0;
                auto* row = from + (t + i) * width + head * a.K;
                fetch_ahead<false>(row, width, a.K);
                if constexpr (std::is_same_v<Source, E>)
                    std::memcpy(to, row, static_cast<size_t>(filled) * sizeof(E));
                else
                    each_vector(0, filled, [&](int64_t j, auto lanes) { store(to + j, load(row + j, lanes), lanes); });
                for (int64_t j = filled; j < a.K_sum; j++) to[j] = E{};
            }
        },
        x);
}

// Rows as columns, for a sum over the head: `BLOCK` rows become BLOCK / PANEL panels of K_sum / pair steps.
template <class P> void pack_transposed(const typename P::Element* rows, const Attention& a, typename P::Element* to) {
    const int64_t words = a.K_sum / P::pair, whole = words / VL * VL;
    const uint32_t* from = reinterpret_cast<const uint32_t*>(rows);
    uint32_t* out = reinterpret_cast<uint32_t*>(to);
    for (int p = 0; p < BLOCK; p += PANEL, out += words * PANEL)
        for (int i = 0; i < PANEL; i += VL) {
            for (int64_t word = 0; word < whole; word += VL) {
                vu square[VL];
                for (int r = 0; r < VL; r++) square[r] = *reinterpret_cast<const vu*>(from + (p + i + r) * words + word);
                transpose(square);
                for (int r = 0; r < VL; r++) *reinterpret_cast<vu*>(out + (word + r) * PANEL + i) = square[r];
            }
            for (int64_t word = whole; word < words; word++)
                for (int r = 0; r < VL; r++) out[word * PANEL + i + r] = from[(p + i + r) * words + word];
        }
}

// VL elements of one row, or of two as pairs.
inline void join(const float* row, const float*, float* to) { store(to, load(row)); }
inline void join(const bf16* first, const bf16* second, bf16* to) {
    *reinterpret_cast<vu*>(to) = ((vu)load(first) >> 16) | (vu)load(second);
}

// Rows as steps, for a sum over tokens: `BLOCK` rows of K_sum become `BLOCK / pair` steps of each of the panels of
// K_columns, which lie panel_stride apart.
template <class P>
void pack_steps(const typename P::Element* rows, const Attention& a, typename P::Element* to, int64_t panel_stride) {
    for (int64_t column = 0; column < a.K_columns; column += VL) {
        auto* panel_of = to + column / PANEL * panel_stride + column % PANEL * P::pair;
        for (int i = 0; i < BLOCK; i += P::pair) {
            const auto* row = rows + i * a.K_sum + column;
            auto* step = panel_of + i * PANEL;
            if (column + VL <= a.K_sum) {
                join(row, row + a.K_sum, step);
                continue;
            }
            for (int c = 0; c < VL; c++)
                for (int e = 0; e < P::pair; e++)
                    step[c * P::pair + e] = column + c < a.K_sum ? row[e * a.K_sum + c] : typename P::Element{};
        }
    }
}

// Writes row t of one head.
inline void store_row(const Tensor& y, int64_t t, int64_t head, const Attention& a, const float* from, float factor) {
    with_types(
        [&](auto* to) {
            to += t * y.shape[1] + head * a.K;
            fetch_ahead<true>(to, y.shape[1], a.K);
            each_vector(0, a.K, [&](int64_t j, auto lanes) { store(to + j, load(from + j, lanes) * factor, lanes); });
        },
        y);
}

// Calls f with the arithmetic of the record: bfloat16 products with `compute: "bf16"`, where the CPU has them.
template <class F> auto with_arithmetic(const Call& call, F&& f) {
#if defined(__AVX512BF16__)
    if (compute_type(call.attrs) == Compute::bf16) return f(BFloat16{});
#else
    (void)call;
#endif
    return f(Float32{});
}

} // namespace temper::TEMPER_ISA
