// linear_logprobs: logprobs[t] = log softmax(x[t] · wᵀ)[targets[t]], 0 where the target is negative
// (docs/plan-format.md).
#include "linear_cross_entropy.hpp"

namespace temper::TEMPER_ISA {

namespace {

struct Workspace {
    float* logits; // (chunk_rows, V), rows ld apart
    char* x_rows;  // (chunk_rows, D) of x's dtype
    char* gemm;
    size_t bytes;

    Workspace(const LinearHead& head, void* base) {
        Scratch scratch(base);
        logits = scratch.take<float>(head.chunk_rows * head.ld);
        x_rows = scratch.take<char>(head.chunk_rows * head.D * static_cast<int64_t>(bytes_of(head.x.dtype)));
        gemm = scratch.take<char>(0);
        bytes = scratch.bytes();
    }
};

size_t workspace(const Call& call) {
    const LinearHead head(call);
    return Workspace(head, nullptr).bytes +
           chunk_scratch(head, [&](int64_t rows) { return std::vector{head.logits(rows, nullptr, nullptr)}; });
}

class LinearLogprobs {
  public:
    explicit LinearLogprobs(const Call& call)
        : call(call), head(call), w(head, call.workspace),
          logits(prepare_chunks(head, head.logits(1, w.x_rows, w.logits), w.gemm,
                                [&](PreparedGemm& gemm, int64_t rows) { gemm.resize(rows, head.D); })) {
        rows.reserve(static_cast<size_t>(head.T));
    }

    void operator()(bool) {
        const int32_t* targets = call.in[2].as<int32_t>();
        float* logprobs = call.out[0].as<float>();
        rows.clear();
        for (int64_t t = 0; t < head.T; t++) {
            logprobs[t] = 0;
            if (targets[t] >= 0) rows.push_back(t);
        }
        each_chunk(rows, head.chunk_rows, [&](const int64_t* chunk, int64_t, int64_t count) {
            gather_rows(head.x, chunk, count, w.x_rows);
            logits.resize(count, head.D);
            logits.run(false);
            parallel_for(call.threads, count, [&](int64_t i) {
                const float* row = w.logits + i * head.ld;
                const int64_t t = chunk[i];
                logprobs[t] = static_cast<float>(softmax_row(row, head.V).log_probability(row[targets[t]]));
            });
        });
    }

  private:
    const Call& call;
    LinearHead head;
    Workspace w;
    PreparedGemm logits;
    std::vector<int64_t> rows; // that have a target
};

std::unique_ptr<Prepared> prepare(const Call& call) { return prepared(LinearLogprobs(call)); }

} // namespace

extern const Kernel linear_logprobs_kernel = {"linear_logprobs", workspace, prepare};

} // namespace temper::TEMPER_ISA
