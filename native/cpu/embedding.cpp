// embedding: y[t] = table[ids[t]], and its gradient: dtable[v] (+)= Σ over t with ids[t] = v of dy[t].
#include "loops.hpp"

namespace temper::TEMPER_ISA {

static void run_embedding(const Call& call) {
    const Tensor &table = call.in[0], &y = call.out[0];
    const int64_t T = y.shape[0], D = table.shape[1];
    const int32_t* ids = call.in[1].as<int32_t>();
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

// A position of the buffer with its token above it, so that sorting groups a token's positions in ascending order.
using TokenPosition = uint64_t;

static size_t workspace_embedding_grad(const Call& call) {
    return static_cast<size_t>(call.in[1].elements()) * (sizeof(TokenPosition) + sizeof(int64_t));
}

// Each row of dtable is summed by one thread over ascending positions: no atomics, the same bits on any team.
static void run_embedding_grad(const Call& call, bool accumulate) {
    const Tensor &dy = call.in[0], &dtable = call.out[0];
    const int64_t T = dy.shape[0], V = dtable.shape[0], D = dtable.shape[1];
    const int32_t* ids = call.in[1].as<int32_t>();

    auto* sorted = static_cast<TokenPosition*>(call.workspace);
    auto* groups = reinterpret_cast<int64_t*>(sorted + T); // where in `sorted` each distinct token begins
    for (int64_t t = 0; t < T; t++) sorted[t] = static_cast<uint64_t>(ids[t]) << 32 | static_cast<uint64_t>(t);
    std::sort(sorted, sorted + T);
    int64_t distinct = 0;
    for (int64_t i = 0; i < T; i++)
        if (i == 0 || sorted[i] >> 32 != sorted[i - 1] >> 32) groups[distinct++] = i;

    float* to = dtable.as<float>();
    if (!accumulate)
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

static std::unique_ptr<Prepared> prepare_embedding_grad(const Call& call) {
    return prepared([&call, mode = accumulate_mode(call.attrs)](bool first) { run_embedding_grad(call, adds(mode, first)); });
}

extern const Kernel embedding_kernel = {"embedding", no_workspace, prepare_call<run_embedding>};
extern const Kernel embedding_grad_kernel = {"embedding_grad", workspace_embedding_grad, prepare_embedding_grad};

} // namespace temper::TEMPER_ISA
