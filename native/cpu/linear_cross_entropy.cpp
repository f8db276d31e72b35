// linear_cross_entropy: cross_entropy of x · wᵀ and its gradients with respect to x and w, a chunk of logits at a time
// (docs/plan-format.md).
#include "linear_head.hpp"

namespace temper::TEMPER_ISA {

namespace {

struct Layout {
    double* losses; // (T), of the labelled rows
    ChunkProducts products;

    // The outputs are loss [, dx] [, dw].
    Layout(const Call& call, void* base) : Layout(call, Scratch(base)) {}

  private:
    Layout(const Call& call, Scratch scratch)
        : losses(scratch.take<double>(call.in[0].shape[0])),
          products(LinearHead(call), call.attrs.flag("dx") ? &call.out[1] : nullptr,
                   call.attrs.flag("dw") ? &call.out.back() : nullptr, scratch) {}
};

size_t workspace(const Call& call) { return Layout(call, nullptr).products.workspace(); }

class LinearCrossEntropy {
  public:
    explicit LinearCrossEntropy(const Call& call)
        : call(call), mode(accumulate_mode(call.attrs)), layout(call, call.workspace), head(layout.products) {}

    void operator()(bool first) {
        const bool accumulate = adds(mode, first), gradient = layout.products.dx || layout.products.dw;
        const int64_t V = layout.products.head.V;
        const int32_t* labels = call.in[2].as<int32_t>();
        const float weight = *call.in[3].as<float>();
        const int64_t rows = head.run(
            accumulate, [&](int64_t t) { return labels[t] != NO_LABEL; },
            [&](float* logits, int64_t t, int64_t i) {
                const SoftmaxRow row = softmax_row(logits, V);
                layout.losses[i] = -row.log_probability(logits[labels[t]]);
                if (gradient) head.store_gradient(logits, row, labels[t], weight);
            });
        add_up_loss(call.out[0].as<float>(), layout.losses, rows, weight, accumulate);
    }

  private:
    const Call& call;
    Accumulate mode;
    Layout layout;
    ChunkedHead head;
};

std::unique_ptr<Prepared> prepare(const Call& call) { return prepared(LinearCrossEntropy(call)); }

} // namespace

extern const Kernel linear_cross_entropy_kernel = {"linear_cross_entropy", workspace, prepare};

} // namespace temper::TEMPER_ISA
