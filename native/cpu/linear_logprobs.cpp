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

void run(Call& call) {
    const LinearHead head(call);
    const Workspace w(head, call.workspace);
    const int32_t* targets = call.in[2].as<int32_t>();
    float* logprobs = call.out[0].as<float>();
    std::vector<int64_t> rows;
    for (int64_t t = 0; t < head.T; t++) {
        logprobs[t] = 0;
        if (targets[t] >= 0) rows.push_back(t);
    }
    each_chunk(rows, head.chunk_rows, [&](const int64_t* chunk, int64_t, int64_t count) {
        gather_rows(head.x, chunk, count, w.x_rows);
        gemm(head.logits(count, w.x_rows, w.logits), w.gemm);
        parallel_for(call.threads, count, [&](int64_t i) {
            const float* logits = w.logits + i * head.ld;
            const int64_t t = chunk[i];
            logprobs[t] = static_cast<float>(softmax_row(logits, head.V).log_probability(logits[targets[t]]));
        });
    });
}

} // namespace

extern const Kernel linear_logprobs_kernel = {"linear_logprobs", workspace, run};

} // namespace temper::TEMPER_ISA
