// The output layer in chunks of rows: gathers the rows that have a label and makes their logits, chunk_rows at a time,
// so that masked positions (a prompt's, often most of them) cost nothing and the full logits never exist.
#pragma once
#include "cross_entropy.hpp"
#include "gemm.hpp"
#include "scratch.hpp"

namespace temper::TEMPER_ISA {

struct LinearHead {
    const Tensor &x, &w; // (T, D), (V, D)
    int64_t T, D, V, chunk_rows;
    int64_t ld; // floats from one row of logits to the next
    Compute compute;
    Threads threads;

    explicit LinearHead(const Call& call)
        : x(call.in[0]), w(call.in[1]), T(x.shape[0]), D(x.shape[1]), V(w.shape[0]),
          chunk_rows(std::min(T, call.attrs.integer("chunk_rows"))), ld(spread(V)), compute(compute_type(call.attrs)),
          threads(call.threads) {}

    // An odd number of cache lines: rows a power of two apart would all lie in the same few sets of the caches.
    static int64_t spread(int64_t columns) {
        const int64_t lines = ceil_div(columns, 16);
        return (lines + (lines % 2 == 0)) * 16;
    }

    // x_rows (rows, D) are of x's dtype.
    Gemm logits(int64_t rows, const void* x_rows, float* y) const {
        return {.m = rows,
                .n = V,
                .products = {{.a = {x_rows, x.dtype, D}, .b = {w.data, w.dtype, D, true}, .k = D}},
                .y = {.data = y, .dtype = DType::f32, .ld = ld},
                .compute = compute,
                .threads = threads};
    }
};

// Makes a product ready for any number of rows a chunk may have: `resize(product, rows)` for each of them.
template <class F> PreparedGemm prepare_chunks(const LinearHead& head, Gemm gemm, void* scratch, F resize) {
    PreparedGemm product(std::move(gemm), scratch);
    for (int64_t rows = 1; rows <= head.chunk_rows; rows++) resize(product, rows);
    return product;
}

// The most scratch that `products(rows)` needs for any number of rows a chunk may have.
template <class F> size_t chunk_scratch(const LinearHead& head, F products) {
    size_t most = 0;
    for (int64_t rows = 1; rows <= head.chunk_rows; rows++)
        for (const Gemm& product : products(rows)) most = std::max(most, gemm_scratch(product));
    return most;
}

// f(rows, first, count) for chunks of nearly equal size, none above chunk_rows: `count` entries of `rows` from `first`.
template <class F> void each_chunk(const std::vector<int64_t>& rows, int64_t chunk_rows, F f) {
    const int64_t n = static_cast<int64_t>(rows.size());
    const int64_t chunks = ceil_div(n, chunk_rows);
    for (int64_t c = 0; c < chunks; c++) {
        const int64_t first = n * c / chunks;
        f(rows.data() + first, first, n * (c + 1) / chunks - first);
    }
}

// Copies the named rows of a (T, D) tensor together.
inline void gather_rows(const Tensor& from, const int64_t* rows, int64_t count, void* to) {
    const size_t bytes = static_cast<size_t>(from.shape[1]) * bytes_of(from.dtype);
    for (int64_t i = 0; i < count; i++)
        std::memcpy(static_cast<char*>(to) + static_cast<size_t>(i) * bytes,
                    static_cast<const char*>(from.data) + static_cast<size_t>(rows[i]) * bytes, bytes);
}

} // namespace temper::TEMPER_ISA
