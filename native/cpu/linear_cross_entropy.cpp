// linear_cross_entropy: cross_entropy of x · wᵀ and its gradients with respect to x and w, a chunk of logits at a time
// (docs/plan-format.md). The chunk's gradient replaces its logits; both products that need it follow at once.
#include "linear_cross_entropy.hpp"

#include <optional>

namespace temper::TEMPER_ISA {

namespace {

struct Workspace {
    double* losses; // (T), of the labelled rows
    float* logits;  // (chunk_rows, V), rows ld apart; then the gradient, f32, or bf16 in the first half of each row
    char* x_rows;   // (chunk_rows, D) of x's dtype
    char* dx_rows;  // (chunk_rows, D) of dx's dtype
    char* gemm;
    size_t bytes;

    Workspace(const LinearHead& head, const Tensor* dx, void* base) {
        Scratch scratch(base);
        auto bytes_of_rows = [&](DType dtype) { return head.chunk_rows * head.D * static_cast<int64_t>(bytes_of(dtype)); };
        losses = scratch.take<double>(head.T);
        logits = scratch.take<float>(head.chunk_rows * head.ld);
        x_rows = scratch.take<char>(bytes_of_rows(head.x.dtype));
        dx_rows = scratch.take<char>(dx ? bytes_of_rows(dx->dtype) : 0);
        gemm = scratch.take<char>(0);
        bytes = scratch.bytes();
    }
};

// Which outputs there are: loss [, dx] [, dw].
const Tensor* dx_of(const Call& call) { return call.attrs.flag("dx") ? &call.out[1] : nullptr; }
const Tensor* dw_of(const Call& call) { return call.attrs.flag("dw") ? &call.out.back() : nullptr; }

// The gradient of a chunk's logits: of the compute type, in place.
Factor gradient_of(const LinearHead& head, float* logits, bool trans) {
    const bool narrow = head.compute == Compute::bf16;
    return {logits, narrow ? DType::bf16 : DType::f32, narrow ? 2 * head.ld : head.ld, trans};
}

Gemm dx_product(const LinearHead& head, const Workspace& w, const Tensor& dx, int64_t rows) {
    return {.m = rows,
            .n = head.D,
            .products = {{.a = gradient_of(head, w.logits, false),
                          .b = {head.w.data, head.w.dtype, head.D},
                          .k = head.V}},
            .y = {.data = w.dx_rows, .dtype = dx.dtype, .ld = head.D},
            .compute = head.compute,
            .threads = head.threads};
}

Gemm dw_product(const LinearHead& head, const Workspace& w, const Tensor& dw, int64_t rows) {
    return {.m = head.V,
            .n = head.D,
            .products = {{.a = gradient_of(head, w.logits, true),
                          .b = {w.x_rows, head.x.dtype, head.D},
                          .k = rows}},
            .y = {.data = dw.data, .dtype = DType::f32, .ld = head.D},
            .compute = head.compute,
            .threads = head.threads};
}

size_t workspace(const Call& call) {
    const LinearHead head(call);
    const Workspace w(head, dx_of(call), nullptr);
    return w.bytes + chunk_scratch(head, [&](int64_t rows) {
               std::vector<Gemm> products = {head.logits(rows, nullptr, nullptr)};
               if (dx_of(call)) products.push_back(dx_product(head, w, *dx_of(call), rows));
               if (dw_of(call)) products.push_back(dw_product(head, w, *dw_of(call), rows));
               return products;
           });
}

// The losses of a chunk and, in the place of its logits, their gradient.
void softmax_chunk(const LinearHead& head, const Workspace& w, const int32_t* labels, const int64_t* chunk,
                   int64_t first, int64_t count, float weight, bool gradient) {
    parallel_for(head.threads, count, [&](int64_t i) {
        float* logits = w.logits + i * head.ld;
        const int32_t label = labels[chunk[i]];
        const SoftmaxRow row = softmax_row(logits, head.V);
        w.losses[first + i] = -row.log_probability(logits[label]);
        if (!gradient) return;
        if (head.compute == Compute::bf16)
            cross_entropy_gradient(logits, head.V, row, label, weight, reinterpret_cast<bf16*>(logits));
        else
            cross_entropy_gradient(logits, head.V, row, label, weight, logits);
    });
}

class LinearCrossEntropy {
  public:
    explicit LinearCrossEntropy(const Call& call)
        : call(call), head(call), mode(accumulate_mode(call.attrs)), dx(dx_of(call)), dw(dw_of(call)),
          w(head, dx, call.workspace),
          logits(prepare_chunks(head, head.logits(1, w.x_rows, w.logits), w.gemm,
                                [&](PreparedGemm& gemm, int64_t count) { gemm.resize(count, head.D); })) {
        if (dx)
            dx_gemm.emplace(prepare_chunks(head, dx_product(head, w, *dx, 1), w.gemm,
                                           [&](PreparedGemm& gemm, int64_t count) { gemm.resize(count, head.V); }));
        if (dw)
            dw_gemm.emplace(prepare_chunks(head, dw_product(head, w, *dw, 1), w.gemm,
                                           [&](PreparedGemm& gemm, int64_t count) { gemm.resize(head.V, count); }));
        rows.reserve(static_cast<size_t>(head.T));
    }

    void operator()(bool first) {
        const bool accumulate = adds(mode, first);
        const int32_t* labels = call.in[2].as<int32_t>();
        const float weight = *call.in[3].as<float>();
        rows.clear();
        for (int64_t t = 0; t < head.T; t++)
            if (labels[t] != NO_LABEL) rows.push_back(t);
        if (dx) std::memset(dx->data, 0, dx->bytes());
        if (dw && rows.empty() && !accumulate) std::memset(dw->data, 0, dw->bytes());

        each_chunk(rows, head.chunk_rows, [&](const int64_t* chunk, int64_t begin, int64_t count) {
            gather_rows(head.x, chunk, count, w.x_rows);
            logits.resize(count, head.D);
            logits.run(false);
            softmax_chunk(head, w, labels, chunk, begin, count, weight, dx || dw);
            if (dx) {
                dx_gemm->resize(count, head.V);
                dx_gemm->run(false);
                scatter_dx(chunk, count);
            }
            if (dw) {
                dw_gemm->resize(head.V, count);
                dw_gemm->run(begin > 0 || accumulate);
            }
        });
        add_up_loss(call.out[0].as<float>(), w.losses, static_cast<int64_t>(rows.size()), weight, accumulate);
    }

  private:
    const Call& call;
    LinearHead head;
    Accumulate mode;
    const Tensor *dx, *dw; // null: not asked for
    Workspace w;
    PreparedGemm logits;
    std::optional<PreparedGemm> dx_gemm, dw_gemm;
    std::vector<int64_t> rows; // that have a label

    void scatter_dx(const int64_t* chunk, int64_t count) const {
        const size_t bytes = static_cast<size_t>(head.D) * bytes_of(dx->dtype);
        for (int64_t i = 0; i < count; i++)
            std::memcpy(static_cast<char*>(dx->data) + static_cast<size_t>(chunk[i]) * bytes,
                        w.dx_rows + static_cast<size_t>(i) * bytes, bytes);
    }
};

std::unique_ptr<Prepared> prepare(const Call& call) { return prepared(LinearCrossEntropy(call)); }

} // namespace

extern const Kernel linear_cross_entropy_kernel = {"linear_cross_entropy", workspace, prepare};

} // namespace temper::TEMPER_ISA
