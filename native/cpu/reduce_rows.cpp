// reduce_rows: y[n] (+)= Σ over t of x[t, n], the gradient of a bias.
#include "row_blocks.hpp"

namespace temper::TEMPER_ISA {

static size_t workspace(const Call& call) {
    return RowBlocks(call.in[0].shape[0]).partial_bytes(call.in[0].shape[1]);
}

static void run(const Call& call, bool accumulate) {
    const Tensor& x = call.in[0];
    const int64_t T = x.shape[0], N = x.shape[1];
    const RowBlocks blocks(T);
    float* partials = static_cast<float*>(call.workspace);
    with_types(
        [&](auto* from) {
            parallel_for(call.threads, blocks.count, [=](int64_t b) {
                float* partial = partials + b * N;
                each_vector(0, N, [=](int64_t i, auto lanes) { store(partial + i, vf{}, lanes); });
                for (int64_t t = b * blocks.rows; t < std::min(T, (b + 1) * blocks.rows); t++)
                    each_vector(0, N, [=](int64_t i, auto lanes) {
                        store(partial + i, load(partial + i, lanes) + load(from + t * N + i, lanes), lanes);
                    });
            });
        },
        x);
    sum_partials(call.threads, partials, blocks.count, N, call.out[0].as<float>(), accumulate);
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([&call, mode = accumulate_mode(call.attrs)](bool first) { run(call, adds(mode, first)); });
}

extern const Kernel reduce_rows_kernel = {"reduce_rows", workspace, prepare};

} // namespace temper::TEMPER_ISA
