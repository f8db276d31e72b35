// sgd with momentum, as torch.optim.SGD: g ← g + weight_decay · p; b ← momentum · b + g (b ← g at step 1); p ← p − lr · b.
#include "optimizer.hpp"

namespace temper::TEMPER_ISA {

static void check(const Call& call) { expect_optimizer(call, call.attrs.flag("momentum") ? 1 : 0); }

static void run(Call& call) {
    const Hyper& h = hyper_of(call);
    const float clip = clip_factor(call), decay = static_cast<float>(call.attrs.number("weight_decay"));
    const float lr = h.lr, momentum = h.momentum;
    const bool has_momentum = call.attrs.flag("momentum"), first_step = h.bias2 == 1.0f; // the host puts the step there
    const float *p = call.in[0].as<float>(), *g = call.in[1].as<float>();
    float *to = call.out[0].as<float>(), *buffer = has_momentum ? call.out[1].as<float>() : nullptr;
    each_vector_parallel(call.threads, call.in[0].elements(), [=](int64_t i, auto lanes) {
        const vf pi = load(p + i, lanes);
        vf direction = load(g + i, lanes) * clip + pi * decay;
        if (has_momentum) {
            if (!first_step) direction = load(buffer + i, lanes) * momentum + direction;
            store(buffer + i, direction, lanes);
        }
        store(to + i, pi - lr * direction, lanes);
    });
}

extern const Op sgd_op = {"sgd", check, no_workspace, run};

} // namespace temper::TEMPER_ISA
