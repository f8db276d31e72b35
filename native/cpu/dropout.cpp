// dropout: each element is kept with probability 1 − p and then scaled by 1 ÷ (1 − p), else 0. Which are kept is a
// function of (seed, step, site, pack, place in the pack, column) alone, so the mask is the same whoever computes it,
// in whatever order; the gradient is dropout itself applied to dy.
#include "loops.hpp"
#include "philox.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

struct Site {
    uint32_t seed[2], step, site;
    uint32_t last_dropped; // an element is kept when its word is greater
    bool none_kept, all_kept;
    float scale;
};

// All but what the key says.
static Site site_of(const Call& call) {
    const double probability = call.attrs.number("probability");
    const double threshold = std::ceil(probability * 0x1p32); // kept when word ≥ threshold
    Site site{};
    site.site = static_cast<uint32_t>(call.attrs.integer("site"));
    site.all_kept = threshold == 0;
    site.none_kept = threshold >= 0x1p32;
    site.last_dropped = site.all_kept || site.none_kept ? 0 : static_cast<uint32_t>(threshold - 1);
    site.scale = site.none_kept ? 0.0f : static_cast<float>(1.0 / (1.0 - probability));
    return site;
}

// One row; `first` is the counter of its first four columns.
template <class X, class Y>
static void drop_row(const Site& site, int64_t N, uint64_t first, uint32_t pack, const X* x, Y* y) {
    vu lane;
    for (int i = 0; i < VL; i++) lane[i] = static_cast<uint32_t>(i);
    for (int64_t column = 0; column < N; column += 4 * VL) {
        const vu low = lane + static_cast<uint32_t>(first + static_cast<uint64_t>(column / 4));
        vu words[4] = {low, vu{} + site.site, vu{} + pack, vu{} + site.step};
        philox(words, site.seed);
        uint32_t drawn[4 * VL];
        in_order(words, drawn);
        each_vector(column, std::min<int64_t>(N, column + 4 * VL), [&](int64_t i, auto lanes) {
            vu word;
            std::memcpy(&word, drawn + (i - column), sizeof word);
            const vu kept = (vu)(word > site.last_dropped);
            store(y + i, (vf)(kept & (vu)(load(x + i, lanes) * site.scale)), lanes);
        });
    }
}

static void run(const Call& call, Site site) {
    const int64_t T = call.in[0].shape[0], N = call.in[0].shape[1];
    const int32_t *packs = call.in[2].as<int32_t>(), *offsets = call.in[3].as<int32_t>();
    const int32_t* key = call.in[1].as<int32_t>();
    site.seed[0] = static_cast<uint32_t>(key[0]);
    site.seed[1] = static_cast<uint32_t>(key[1]);
    site.step = static_cast<uint32_t>(key[2]);
    with_types(
        [&](auto* x, auto* y) {
            if (site.all_kept || site.none_kept) {
                const vf factor = splat(site.all_kept ? 1.0f : 0.0f);
                each_vector_parallel(call.threads, T * N, [=](int64_t i, auto lanes) {
                    store(y + i, factor * load(x + i, lanes), lanes);
                });
                return;
            }
            parallel_for(threads_for(call), T, [=](int64_t t) {
                const uint64_t first = static_cast<uint64_t>(offsets[t]) * static_cast<uint64_t>(ceil_div(N, 4));
                drop_row(site, N, first, static_cast<uint32_t>(packs[t]), x + t * N, y + t * N);
            });
        },
        call.in[0], call.out[0]);
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([&call, site = site_of(call)](bool) { run(call, site); });
}

extern const Kernel dropout_kernel = {"dropout", no_workspace, prepare};

} // namespace temper::TEMPER_ISA
