// rope: rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face: element j of a head and
// element j + K/2 are turned by the angle of their position. `inverse` turns back, which is the gradient.
#include "expect.hpp"
#include "loops.hpp"

namespace temper::TEMPER_ISA {

static void check(const Call& call) {
    expect_counts(call, 3, 1);
    const Tensor &x = call.in[0], &table = call.in[1], &positions = call.in[2], &y = call.out[0];
    const int64_t heads = call.attrs.integer("heads"), K = call.attrs.integer("head_dim");
    expect(heads > 0 && K > 0 && K % 2 == 0, call, "heads must be positive and head_dim even");
    call.attrs.flag("inverse");
    expect_rank(call, x, "x", 2);
    expect_rank(call, table, "table", 2);
    expect_float(call, x, "x");
    expect_float(call, y, "y");
    expect_dtype(call, table, "table", DType::f32);
    expect_dtype(call, positions, "positions", DType::i32);
    expect_shape(call, x, "x", {x.shape[0], heads * K});
    expect_shape(call, y, "y", {x.shape[0], heads * K});
    expect_shape(call, table, "table", {table.shape[0], K});
    expect_shape(call, positions, "positions", {x.shape[0]});
}

static void run(Call& call) {
    const int64_t T = call.in[0].shape[0], P = call.in[1].shape[0];
    const int64_t heads = call.attrs.integer("heads"), K = call.attrs.integer("head_dim"), half = K / 2;
    const float sign = call.attrs.flag("inverse") ? -1.0f : 1.0f;
    const float* table = call.in[1].as<float>();
    const int32_t* positions = call.in[2].as<int32_t>();
    for (int64_t t = 0; t < T; t++)
        if (positions[t] < 0 || positions[t] >= P)
            throw std::out_of_range("rope: positions[" + std::to_string(t) + "] is " + std::to_string(positions[t]) +
                                    ", outside the table's [0, " + std::to_string(P) + ")");
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

extern const Op rope_op = {"rope", check, no_workspace, run,
                           {{"heads", AttrType::integer}, {"head_dim", AttrType::integer}, {"inverse", AttrType::flag}}};

} // namespace temper::TEMPER_ISA
