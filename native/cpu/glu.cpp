// glu: h = fn(gate) · up (Shazeer 2020), and its gradient. fn(gate) is computed again rather than stored.
#include "activation.hpp"

namespace temper::TEMPER_ISA {

template <class F, class M> static void run_glu(const Call& call, F, M) {
    const Floats gate(call.in[0]), up(call.in[1]), h(call.out[0]);
    each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
        h.store(i, F::template at<M>(gate.load(i, lanes)).value * up.load(i, lanes), lanes);
    });
}

// Gradient: dgate = dh · up · fn′(gate), dup = dh · fn(gate).

template <class F, class M> static void run_glu_grad(const Call& call, F, M) {
    const Floats dh(call.in[0]), gate(call.in[1]), up(call.in[2]), dgate(call.out[0]), dup(call.out[1]);
    each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
        const vf d = dh.load(i, lanes), u = up.load(i, lanes);
        const auto fn = F::template at<M>(gate.load(i, lanes));
        dgate.store(i, d * u * fn.slope, lanes);
        dup.store(i, d * fn.value, lanes);
    });
}

static std::unique_ptr<Prepared> prepare_glu(const Call& call) {
    return prepare_activation(call, [](const Call& record, auto fn, auto arithmetic) { run_glu(record, fn, arithmetic); });
}

static std::unique_ptr<Prepared> prepare_glu_grad(const Call& call) {
    return prepare_activation(call, [](const Call& record, auto fn, auto arithmetic) { run_glu_grad(record, fn, arithmetic); });
}

extern const Kernel glu_kernel = {"glu", no_workspace, prepare_glu};
extern const Kernel glu_grad_kernel = {"glu_grad", no_workspace, prepare_glu_grad};

} // namespace temper::TEMPER_ISA
