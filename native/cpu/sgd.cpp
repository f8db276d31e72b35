// sgd, as torch.optim.SGD: clipping, momentum and update in one pass over memory. With a norm that is not finite it changes
// nothing.
#include "optimizer.hpp"

namespace temper::TEMPER_ISA {

namespace {

void run(const Call& call, float decay, bool has_momentum) {
    if (!has_finite_norm(call)) return;
    const SgdScalars& s = *call.in[4].as<SgdScalars>();
    const float clip = clip_factor(call);
    const float lr = s.lr, momentum = s.momentum;
    const bool first_step = s.first_step != 0;
    const float *p = call.in[0].as<float>(), *g = call.in[1].as<float>();
    float *to = call.out[0].as<float>(), *buffer = has_momentum ? call.out[1].as<float>() : nullptr;
    each_vector_parallel(call.threads, call.in[0].elements(), [=](int64_t i, auto lanes) {
        const vf pi = load(p + i, lanes);
        vf direction = load(g + i, lanes) * clip + pi * decay; // g ← g + λ·p
        if (has_momentum) {
            if (!first_step) direction = load(buffer + i, lanes) * momentum + direction; // b ← μ·b + g; b ← g at step 1
            store(buffer + i, direction, lanes);
        }
        store(to + i, pi - lr * direction, lanes); // p ← p − lr·b
    });
}

std::unique_ptr<Prepared> prepare(const Call& call) {
    const float decay = static_cast<float>(call.attrs.number("weight_decay"));
    return prepared([&call, decay, has_momentum = call.attrs.flag("momentum")](bool) { run(call, decay, has_momentum); });
}

} // namespace

extern const Kernel sgd_kernel = {"sgd", no_workspace, prepare};

} // namespace temper::TEMPER_ISA
