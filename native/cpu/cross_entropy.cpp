// cross_entropy: loss = weight · Σ −log softmax(logits)[label], and its gradient (docs/plan-format.md).
#include "cross_entropy.hpp"
#include "expect.hpp"

namespace temper::TEMPER_ISA {

namespace {

void check(const Call& call) {
    const bool grad = call.attrs.flag("grad");
    expect_counts(call, 3, grad ? 2 : 1);
    const Tensor& logits = call.in[0];
    expect_rank(call, logits, "logits", 2);
    expect_float(call, logits, "logits");
    expect_shape(call, call.in[1], "labels", {logits.shape[0]});
    expect_dtype(call, call.in[1], "labels", DType::i32);
    expect_shape(call, call.in[2], "weight", {1});
    expect_dtype(call, call.in[2], "weight", DType::f32);
    expect_shape(call, call.out[0], "loss", {1});
    expect_dtype(call, call.out[0], "loss", DType::f32);
    call.accumulates();
    if (!grad) return;
    expect_shape(call, call.out[1], "dlogits", {logits.shape[0], logits.shape[1]});
    expect_float(call, call.out[1], "dlogits");
}

size_t workspace(const Call& call) { return static_cast<size_t>(call.in[0].shape[0]) * sizeof(double); }

void run(Call& call) {
    const int64_t T = call.in[0].shape[0], V = call.in[0].shape[1];
    const int32_t* labels = call.in[1].as<int32_t>();
    const float weight = *call.in[2].as<float>();
    double* losses = static_cast<double*>(call.workspace); // (T)
    const bool grad = call.attrs.flag("grad");
    check_labels(call, call.in[1], V);
    with_types(
        [&](auto* logits, auto* gradients) {
            parallel_for(call.threads, T, [&](int64_t t) {
                losses[t] = 0;
                if (labels[t] == NO_LABEL) {
                    if (grad) std::memset(gradients + t * V, 0, static_cast<size_t>(V) * sizeof *gradients);
                    return;
                }
                const SoftmaxRow row = softmax_row(logits + t * V, V);
                losses[t] = -row.log_probability(to_float(logits[t * V + labels[t]]));
                if (grad) cross_entropy_gradient(logits + t * V, V, row, labels[t], weight, gradients + t * V);
            });
        },
        call.in[0], grad ? call.out[1] : call.in[0]);
    add_up_loss(call, losses, T, weight);
}

} // namespace

extern const Op cross_entropy_op = {"cross_entropy", check, workspace, run,
                                    {{"grad", AttrType::flag}, {"accumulate", AttrType::text}},
                                    {{1, 0}}};

} // namespace temper::TEMPER_ISA
