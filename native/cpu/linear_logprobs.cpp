// linear_logprobs: logprobs[t] = log softmax(x[t] · wᵀ)[targets[t]], 0 where the target is negative; and its gradients
// with respect to x and w (docs/plan-format.md).
#include "linear_head.hpp"

namespace temper::TEMPER_ISA {

namespace {

ChunkProducts forward_products(const Call& call) { return {LinearHead(call), nullptr, nullptr, Scratch(call.workspace)}; }

size_t forward_workspace(const Call& call) { return forward_products(call).workspace(); }

class LinearLogprobs {
  public:
    explicit LinearLogprobs(const Call& call) : call(call), head(forward_products(call)) {}

    void operator()(bool) {
        const int64_t V = call.in[1].shape[0];
        const int32_t* targets = call.in[2].as<int32_t>();
        float* logprobs = call.out[0].as<float>();
        std::memset(logprobs, 0, call.out[0].bytes());
        head.run(
            false, [&](int64_t t) { return targets[t] >= 0; },
            [&](float* logits, int64_t t, int64_t) {
                logprobs[t] = static_cast<float>(softmax_row(logits, V).log_probability(logits[targets[t]]));
            });
    }

  private:
    const Call& call;
    ChunkedHead head;
};

std::unique_ptr<Prepared> prepare_forward(const Call& call) { return prepared(LinearLogprobs(call)); }

// The outputs are [dx] [, dw].
ChunkProducts gradient_products(const Call& call) {
    return {LinearHead(call), call.attrs.flag("dx") ? &call.out[0] : nullptr,
            call.attrs.flag("dw") ? &call.out.back() : nullptr, Scratch(call.workspace)};
}

size_t gradient_workspace(const Call& call) { return gradient_products(call).workspace(); }

class LinearLogprobsGrad {
  public:
    explicit LinearLogprobsGrad(const Call& call)
        : call(call), mode(accumulate_mode(call.attrs)), head(gradient_products(call)) {}

    void operator()(bool first) {
        const int64_t V = call.in[1].shape[0];
        const int32_t* targets = call.in[2].as<int32_t>();
        const float* dlogprobs = call.in[3].as<float>();
        head.run(
            adds(mode, first), [&](int64_t t) { return targets[t] >= 0; },
            [&](float* logits, int64_t t, int64_t) {
                head.store_gradient(logits, softmax_row(logits, V), targets[t], -dlogprobs[t]);
            });
    }

  private:
    const Call& call;
    Accumulate mode;
    ChunkedHead head;
};

std::unique_ptr<Prepared> prepare_gradient(const Call& call) { return prepared(LinearLogprobsGrad(call)); }

} // namespace

extern const Kernel linear_logprobs_kernel = {"linear_logprobs", forward_workspace, prepare_forward};
extern const Kernel linear_logprobs_grad_kernel = {"linear_logprobs_grad", gradient_workspace, prepare_gradient};

} // namespace temper::TEMPER_ISA
