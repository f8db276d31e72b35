// adamw (Loshchilov & Hutter 2019), as torch.optim.AdamW: clipping, moments and update in one pass over memory.
#include "optimizer.hpp"

namespace temper::TEMPER_ISA {

static void check(const Call& call) { expect_optimizer(call, 2); }

static void run(Call& call) {
    const Hyper& h = hyper_of(call);
    const float clip = clip_factor(call), decay = 1.0f - h.lr * static_cast<float>(call.attrs.number("weight_decay"));
    const float step = h.lr / h.bias1, root_bias2 = std::sqrt(h.bias2);
    const float beta1 = h.beta1, beta2 = h.beta2, eps = h.eps;
    const float *p = call.in[0].as<float>(), *g = call.in[1].as<float>();
    float *to = call.out[0].as<float>(), *m = call.out[1].as<float>(), *v = call.out[2].as<float>();
    each_vector_parallel(call.threads, call.in[0].elements(), [=](int64_t i, auto lanes) {
        const vf gi = load(g + i, lanes) * clip, old = load(m + i, lanes);
        const vf m_new = old + (gi - old) * (1.0f - beta1); // torch's lerp
        const vf v_new = load(v + i, lanes) * beta2 + gi * gi * (1.0f - beta2);
        const vf denominator = sqrt(v_new) / root_bias2 + eps;
        store(m + i, m_new, lanes);
        store(v + i, v_new, lanes);
        store(to + i, load(p + i, lanes) * decay - step * m_new / denominator, lanes);
    });
}

extern const Op adamw_op = {"adamw", check, no_workspace, run};

} // namespace temper::TEMPER_ISA
