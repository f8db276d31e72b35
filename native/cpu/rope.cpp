// rope: rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face: element j of a head and
// element j + K/2 are turned by the angle of their position. `inverse` turns back, which is the gradient.
#include "loops.hpp"

namespace temper::TEMPER_ISA {

static void run(const Call& call, int64_t K, bool inverse) {
    const int64_t T = call.in[0].shape[0], heads = call.in[0].shape[1] / K, half = K / 2;
    const float sign = inverse ? -1.0f : 1.0f;
    const float* table = call.in[1].as<float>();
    const int32_t* positions = call.in[2].as<int32_t>();
    with_types(
        [&](auto* x, auto* y) {
            parallel_for(threads_for(call), T, [=](int64_t t) {
                const float *cosines = table + positions[t] * K, *sines = cosines + half;
                for (int64_t h = 0; h < heads; h++) {
                    auto* from = x + (t * heads + h) * K;
                    auto* to = y + (t * heads + h) * K;
                    each_vector(0, half, [=](int64_t j, auto lanes) {
                        const vf a = load(from + j, lanes), b = load(from + half + j, lanes);
                        const vf c = load(cosines + j, lanes), s = sign * load(sines + j, lanes);
                        store(to + j, a * c - b * s, lanes);
                        store(to + half + j, b * c + a * s, lanes);
                    });
                }
            });
        },
        call.in[0], call.out[0]);
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([&call, K = call.attrs.integer("head_dim"), inverse = call.attrs.flag("inverse")](bool) { run(call, K, inverse); });
}

extern const Kernel rope_kernel = {"rope", no_workspace, prepare};

} // namespace temper::TEMPER_ISA
