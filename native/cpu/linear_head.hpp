// The output layer in chunks of rows: gathers the rows that have a label and makes their logits, chunk_rows at a time,
// so that masked positions (a prompt's, often most of them) cost nothing and the full logits never exist. The gradient of
// a chunk's logits replaces them; both products that need it follow at once.
#pragma once
#include "cross_entropy.hpp"
#include "gemm.hpp"
#include "scratch.hpp"

#include <optional>

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

// Copies rows that lie together to the named rows of a (T, D) tensor.
inline void scatter_rows(const void* from, const int64_t* rows, int64_t count, const Tensor& to) {
    const size_t bytes = static_cast<size_t>(to.shape[1]) * bytes_of(to.dtype);
    for (int64_t i = 0; i < count; i++)
        std::memcpy(static_cast<char*>(to.data) + static_cast<size_t>(rows[i]) * bytes,
                    static_cast<const char*>(from) + static_cast<size_t>(i) * bytes, bytes);
}

// The products of a chunk, and where they lie: logits = x · wᵀ and, from the gradient dz of the logits, dx = dz · w and
// dw += dzᵀ · x.
class ChunkProducts {
  public:
    // dx, dw: null where they are not asked for
    ChunkProducts(const LinearHead& head, const Tensor* dx, const Tensor* dw, Scratch scratch)
        : head(head), dx(dx), dw(dw) {
        auto bytes_of_rows = [&](DType dtype) { return head.chunk_rows * head.D * static_cast<int64_t>(bytes_of(dtype)); };
        logits = scratch.take<float>(head.chunk_rows * head.ld);
        x_rows = scratch.take<char>(bytes_of_rows(head.x.dtype));
        dx_rows = scratch.take<char>(dx ? bytes_of_rows(dx->dtype) : 0);
        gemm = scratch.take<char>(0);
        bytes = scratch.bytes();
    }

    const LinearHead head;
    const Tensor *dx, *dw;
    float* logits; // (chunk_rows, V), rows ld apart; then dz, f32, or bf16 in the first half of each row
    char* x_rows;  // (chunk_rows, D) of x's dtype
    char* dx_rows; // (chunk_rows, D) of dx's dtype
    char* gemm;
    size_t bytes;

    Gemm logits_product(int64_t rows) const { return head.logits(rows, x_rows, logits); }

    Gemm dx_product(int64_t rows) const {
        return {.m = rows,
                .n = head.D,
                .products = {{.a = dz(false), .b = {head.w.data, head.w.dtype, head.D}, .k = head.V}},
                .y = {.data = dx_rows, .dtype = dx->dtype, .ld = head.D},
                .compute = head.compute,
                .threads = head.threads};
    }

    Gemm dw_product(int64_t rows) const {
        return {.m = head.V,
                .n = head.D,
                .products = {{.a = dz(true), .b = {x_rows, head.x.dtype, head.D}, .k = rows}},
                .y = {.data = dw->data, .dtype = DType::f32, .ld = head.D},
                .compute = head.compute,
                .threads = head.threads};
    }

    // Bytes of the scratch above and of what its products need for any number of rows a chunk may have.
    size_t workspace() const {
        size_t most = 0;
        for (int64_t rows = 1; rows <= head.chunk_rows; rows++) {
            most = std::max(most, gemm_scratch(logits_product(rows)));
            if (dx) most = std::max(most, gemm_scratch(dx_product(rows)));
            if (dw) most = std::max(most, gemm_scratch(dw_product(rows)));
        }
        return bytes + most;
    }

  private:
    // The gradient of a chunk's logits, in their place, is of the compute type.
    Factor dz(bool trans) const {
        const bool narrow = head.compute == Compute::bf16;
        return {logits, narrow ? DType::bf16 : DType::f32, narrow ? 2 * head.ld : head.ld, trans};
    }
};

// An output layer made ready to run over the rows that have a label.
class ChunkedHead {
  public:
    explicit ChunkedHead(const ChunkProducts& products)
        : p(products),
          logits(ready(p.logits_product(1), [&](PreparedGemm& gemm, int64_t count) { gemm.resize(count, p.head.D); })) {
        if (p.dx)
            dx.emplace(ready(p.dx_product(1), [&](PreparedGemm& gemm, int64_t count) { gemm.resize(count, p.head.V); }));
        if (p.dw)
            dw.emplace(ready(p.dw_product(1), [&](PreparedGemm& gemm, int64_t count) { gemm.resize(p.head.V, count); }));
        rows.reserve(static_cast<size_t>(p.head.T));
    }

    // Calls each_row(logits, t, i) for the rows t, numbered by i, that has_label(t); with dx or dw it leaves their
    // gradient in the place of the logits. `accumulate`: adds to dw. Returns the number of these rows.
    template <class HasLabel, class EachRow> int64_t run(bool accumulate, HasLabel has_label, EachRow each_row) {
        rows.clear();
        for (int64_t t = 0; t < p.head.T; t++)
            if (has_label(t)) rows.push_back(t);
        if (p.dx) std::memset(p.dx->data, 0, p.dx->bytes());
        if (p.dw && rows.empty() && !accumulate) std::memset(p.dw->data, 0, p.dw->bytes());

        each_chunk(rows, p.head.chunk_rows, [&](const int64_t* chunk, int64_t begin, int64_t count) {
            gather_rows(p.head.x, chunk, count, p.x_rows);
            logits.resize(count, p.head.D);
            logits.run(false);
            parallel_for(p.head.threads, count, [&](int64_t i) { each_row(p.logits + i * p.head.ld, chunk[i], begin + i); });
            if (dx) {
                dx->resize(count, p.head.V);
                dx->run(false);
                scatter_rows(p.dx_rows, chunk, count, *p.dx);
            }
            if (dw) {
                dw->resize(p.head.V, count);
                dw->run(begin > 0 || accumulate);
            }
        });
        return static_cast<int64_t>(rows.size());
    }

    // Replaces a row of logits by the gradient of −weight · log p(label).
    void store_gradient(float* logits, const SoftmaxRow& row, int32_t label, float weight) const {
        if (p.head.compute == Compute::bf16)
            cross_entropy_gradient(logits, p.head.V, row, label, weight, reinterpret_cast<bf16*>(logits));
        else
            cross_entropy_gradient(logits, p.head.V, row, label, weight, logits);
    }

  private:
    ChunkProducts p;
    PreparedGemm logits;
    std::optional<PreparedGemm> dx, dw;
    std::vector<int64_t> rows; // that have a label

    // A product made ready for any number of rows a chunk may have.
    template <class Resize> PreparedGemm ready(Gemm gemm, Resize resize) const {
        PreparedGemm product(std::move(gemm), p.gemm);
        for (int64_t count = 1; count <= p.head.chunk_rows; count++) resize(product, count);
        return product;
    }
};

} // namespace temper::TEMPER_ISA
