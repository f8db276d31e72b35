// act: y = fn(x), element by element, and its gradient.
#include "activation.hpp"

namespace temper::TEMPER_ISA {

template <class F, class M> static void run_act(const Call& call, F, M) {
    const Floats x(call.in[0]), y(call.out[0]);
    each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
        y.store(i, F::template at<M>(x.load(i, lanes)).value, lanes);
    });
}

// Gradient: dx = dy · fn′(x).

template <class F, class M> static void run_act_grad(const Call& call, F, M) {
    const Floats dy(call.in[0]), x(call.in[1]), dx(call.out[0]);
    each_vector_parallel(call.threads, call.out[0].elements(), [=](int64_t i, auto lanes) {
        dx.store(i, dy.load(i, lanes) * F::template at<M>(x.load(i, lanes)).slope, lanes);
    });
}

static std::unique_ptr<Prepared> prepare_act(const Call& call) {
    return prepare_activation(call, [](const Call& record, auto fn, auto arithmetic) { run_act(record, fn, arithmetic); });
}

static std::unique_ptr<Prepared> prepare_act_grad(const Call& call) {
    return prepare_activation(call, [](const Call& record, auto fn, auto arithmetic) { run_act_grad(record, fn, arithmetic); });
}

extern const Kernel act_kernel = {"act", no_workspace, prepare_act};
extern const Kernel act_grad_kernel = {"act_grad", no_workspace, prepare_act_grad};

} // namespace temper::TEMPER_ISA
