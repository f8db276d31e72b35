// dropout: each element is kept with probability 1 − p and then scaled by 1 ÷ (1 − p), else 0. Which are kept is a
// function of (seed, step, site, pack, place in the pack, column) alone, so the mask is the same whoever computes it,
// in whatever order; the gradient is dropout itself applied to dy.
#include "expect.hpp"
#include "loops.hpp"
#include "philox.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

// One word of the counter names four columns of a place in a pack, so a pack has this many before masks would repeat.
static constexpr int64_t COUNTERS = int64_t{1} << 32;

static void check(const Call& call) {
    expect_counts(call, 4, 1);
    const Tensor &x = call.in[0], &y = call.out[0];
    expect_rank(call, x, "x", 2);
    expect_float(call, x, "x");
    expect_float(call, y, "y");
    expect_shape(call, y, "y", {x.shape[0], x.shape[1]});
    expect_shape(call, call.in[1], "key", {4});
    expect_shape(call, call.in[2], "packs", {x.shape[0]});
    expect_shape(call, call.in[3], "offsets", {x.shape[0]});
    for (int i = 1; i < 4; i++) expect_dtype(call, call.in[i], "key, packs and offsets", DType::i32);
    const double probability = call.attrs.number("probability");
    expect(probability >= 0 && probability <= 1, call, "probability must lie in [0, 1]");
    expect(x.shape[0] * ceil_div(x.shape[1], 4) <= COUNTERS, call,
           "the " + std::to_string(x.shape[0]) + " × " + std::to_string(x.shape[1]) +
               " elements of x take more than the 2^32 counters of a pack, which would repeat: use a smaller packed sequence");
}

struct Site {
    uint32_t seed[2], step, site;
    uint32_t last_dropped; // an element is kept when its word is greater
    bool none_kept, all_kept;
    float scale;
};

static Site site_of(const Call& call) {
    const double probability = call.attrs.number("probability");
    const double threshold = std::ceil(probability * 0x1p32); // kept when word ≥ threshold
    const int32_t* key = call.in[1].as<int32_t>();
    Site site{};
    site.seed[0] = static_cast<uint32_t>(key[0]);
    site.seed[1] = static_cast<uint32_t>(key[1]);
    site.step = static_cast<uint32_t>(key[2]);
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

static void run(Call& call) {
    const int64_t T = call.in[0].shape[0], N = call.in[0].shape[1];
    const int32_t *packs = call.in[2].as<int32_t>(), *offsets = call.in[3].as<int32_t>();
    const int64_t places = COUNTERS / ceil_div(N, 4);
    for (int64_t t = 0; t < T; t++)
        if (offsets[t] < 0 || offsets[t] >= places)
            throw std::out_of_range("dropout: offsets[" + std::to_string(t) + "] is " + std::to_string(offsets[t]) +
                                    ", but rows of " + std::to_string(N) + " have counters for " + std::to_string(places) +
                                    " places of a pack");
    const Site site = site_of(call);
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

extern const Op dropout_op = {"dropout", check, no_workspace, run,
                              {{"probability", AttrType::number}, {"site", AttrType::integer}}};

} // namespace temper::TEMPER_ISA
