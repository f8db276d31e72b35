// adamw (Loshchilov & Hutter 2019), as torch.optim.AdamW: clipping, moments and update in one pass over memory. With a
// norm that is not finite it changes nothing.
#include "optimizer.hpp"

namespace temper::TEMPER_ISA {

namespace {

void run(const Call& call, float weight_decay) {
    if (!has_finite_norm(call)) return;
    const AdamwScalars& s = *call.in[4].as<AdamwScalars>();
    const float clip = clip_factor(call);
    const float decay = 1.0f - s.lr * weight_decay;
    const float step = s.lr / s.bias_correction1, root2 = std::sqrt(s.bias_correction2);
    const float beta1 = s.beta1, beta2 = s.beta2, eps = s.eps;
    const float *p = call.in[0].as<float>(), *g = call.in[1].as<float>();
    float *to = call.out[0].as<float>(), *m = call.out[1].as<float>(), *v = call.out[2].as<float>();
    each_vector_parallel(call.threads, call.in[0].elements(), [=](int64_t i, auto lanes) {
        const vf gi = load(g + i, lanes) * clip;
        const vf old = load(m + i, lanes);
        const vf m_new = old + (gi - old) * (1.0f - beta1);                       // m ← β₁·m + (1 − β₁)·g, as torch's lerp
        const vf v_new = load(v + i, lanes) * beta2 + gi * gi * (1.0f - beta2);   // v ← β₂·v + (1 − β₂)·g²
        const vf denominator = sqrt(v_new) / root2 + eps;                         // √v̂ + ε, v̂ = v ÷ (1 − β₂ᵗ)
        store(m + i, m_new, lanes);
        store(v + i, v_new, lanes);
        store(to + i, load(p + i, lanes) * decay - step * m_new / denominator, lanes); // p ← (1 − lr·λ)·p − lr·m̂ ÷ (√v̂ + ε)
    });
}

std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([&call, decay = static_cast<float>(call.attrs.number("weight_decay"))](bool) { run(call, decay); });
}

} // namespace

extern const Kernel adamw_kernel = {"adamw", no_workspace, prepare};

} // namespace temper::TEMPER_ISA
