// embedding: y[t] = table[ids[t]], and its gradient: dtable[v] (+)= Σ over t with ids[t] = v of dy[t].
#include "expect.hpp"
#include "loops.hpp"

namespace temper::TEMPER_ISA {

// Checked before the gradient is touched.
static void expect_ids(const Call& call, const int32_t* ids, int64_t T, int64_t V) {
    for (int64_t t = 0; t < T; t++)
        if (ids[t] < 0 || ids[t] >= V)
            throw std::out_of_range(call.attrs.op + ": ids[" + std::to_string(t) + "] is " + std::to_string(ids[t]) +
                                    ", outside [0, " + std::to_string(V) + ")");
}

static void check_embedding(const Call& call) {
    expect_counts(call, 2, 1);
    const Tensor &table = call.in[0], &ids = call.in[1], &y = call.out[0];
    expect_rank(call, table, "table", 2);
    expect_rank(call, ids, "ids", 1);
    expect_weight(call, table, "table");
    expect_dtype(call, ids, "ids", DType::i32);
    expect_float(call, y, "y");
    expect_shape(call, y, "y", {ids.shape[0], table.shape[1]});
}

static void run_embedding(Call& call) {
    const Tensor &table = call.in[0], &y = call.out[0];
    const int64_t T = y.shape[0], V = table.shape[0], D = table.shape[1];
    const int32_t* ids = call.in[1].as<int32_t>();
    expect_ids(call, ids, T, V);
    with_weight(
        [&](auto* from) {
            with_types(
                [&](auto* to) {
                    parallel_for(threads_for(call), T, [=](int64_t t) {
                        auto* row = from + ids[t] * D;
                        each_vector(0, D, [=](int64_t i, auto lanes) { store(to + t * D + i, load(row + i, lanes), lanes); });
                    });
                },
                y);
        },
        table);
}

static void check_embedding_grad(const Call& call) {
    expect_counts(call, 2, 1);
    const Tensor &dy = call.in[0], &ids = call.in[1], &dtable = call.out[0];
    expect_rank(call, ids, "ids", 1);
    expect_rank(call, dtable, "dtable", 2);
    expect_float(call, dy, "dy");
    expect_dtype(call, ids, "ids", DType::i32);
    expect_dtype(call, dtable, "dtable", DType::f32);
    expect_shape(call, dy, "dy", {ids.shape[0], dtable.shape[1]});
    call.accumulates();
}

// A position of the buffer with its token above it, so that sorting groups a token's positions in ascending order.
using TokenPosition = uint64_t;

static size_t workspace_embedding_grad(const Call& call) {
    return static_cast<size_t>(call.in[1].elements()) * (sizeof(TokenPosition) + sizeof(int64_t));
}

// Each row of dtable is summed by one thread over ascending positions: no atomics, the same bits on any team.
static void run_embedding_grad(Call& call) {
    const Tensor &dy = call.in[0], &dtable = call.out[0];
    const int64_t T = dy.shape[0], V = dtable.shape[0], D = dtable.shape[1];
    const int32_t* ids = call.in[1].as<int32_t>();
    expect_ids(call, ids, T, V);

    auto* sorted = static_cast<TokenPosition*>(call.workspace);
    auto* groups = reinterpret_cast<int64_t*>(sorted + T); // where in `sorted` each distinct token begins
    for (int64_t t = 0; t < T; t++) sorted[t] = static_cast<uint64_t>(ids[t]) << 32 | static_cast<uint64_t>(t);
    std::sort(sorted, sorted + T);
    int64_t distinct = 0;
    for (int64_t i = 0; i < T; i++)
        if (i == 0 || sorted[i] >> 32 != sorted[i - 1] >> 32) groups[distinct++] = i;

    float* to = dtable.as<float>();
    if (!call.accumulates())
        each_vector_parallel(call.threads, V * D, [=](int64_t i, auto lanes) { store(to + i, vf{}, lanes); });

    // Blocks of columns are tasks too: one frequent token (a newline) must not hold up the rest.
    constexpr int64_t WIDTH = 256;
    const int64_t blocks = ceil_div(D, WIDTH);
    with_types(
        [&](auto* from) {
            parallel_for(call.threads, distinct * blocks, [=](int64_t task) {
                const int64_t group = task / blocks, column = task % blocks * WIDTH;
                const int64_t begin = groups[group], end = group + 1 < distinct ? groups[group + 1] : T;
                float* row = to + static_cast<int64_t>(sorted[begin] >> 32) * D;
                for (int64_t p = begin; p < end; p++) {
                    auto* source = from + static_cast<int64_t>(sorted[p] & 0xffffffffu) * D;
                    each_vector(column, std::min(D, column + WIDTH), [=](int64_t i, auto lanes) {
                        store(row + i, load(row + i, lanes) + load(source + i, lanes), lanes);
                    });
                }
            });
        },
        dy);
}

extern const Op embedding_op = {"embedding", check_embedding, no_workspace, run_embedding};
extern const Op embedding_grad_op = {"embedding_grad", check_embedding_grad, workspace_embedding_grad, run_embedding_grad,
                                     {{"accumulate", AttrType::text}}};

} // namespace temper::TEMPER_ISA
