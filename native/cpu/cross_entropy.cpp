// cross_entropy: loss = weight · Σ −log softmax(logits)[label], and its gradient (docs/plan-format.md).
#include "cross_entropy.hpp"

namespace temper::TEMPER_ISA {

namespace {

size_t workspace(const Call& call) { return static_cast<size_t>(call.in[0].shape[0]) * sizeof(double); }

void run(const Call& call, bool grad, bool accumulate) {
    const int64_t T = call.in[0].shape[0], V = call.in[0].shape[1];
    const int32_t* labels = call.in[1].as<int32_t>();
    const float weight = *call.in[2].as<float>();
    double* losses = static_cast<double*>(call.workspace); // (T)
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
    add_up_loss(call.out[0].as<float>(), losses, T, weight, accumulate);
}

std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([&call, grad = call.attrs.flag("grad"), mode = accumulate_mode(call.attrs)](bool first) {
        run(call, grad, adds(mode, first));
    });
}

} // namespace

extern const Kernel cross_entropy_kernel = {"cross_entropy", workspace, prepare};

} // namespace temper::TEMPER_ISA
