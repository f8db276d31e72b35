// rmsnorm: y = x · r · w with r = 1 ÷ √(mean(x²) + eps) (Zhang & Sennrich 2019), and its gradient.
#include "row_blocks.hpp"

namespace temper::TEMPER_ISA {

// The weight as floats: read once per record, so that kernels are not compiled for its types too.
static const float* as_floats(const Tensor& w, float* scratch) {
    if (w.dtype == DType::f32) return w.as<float>();
    with_weight(
        [&](auto* from) {
            each_vector(0, w.elements(), [=](int64_t i, auto lanes) { store(scratch + i, load(from + i, lanes), lanes); });
        },
        w);
    return scratch;
}

// Σ f(i) over a row, in four chains of vectors.
template <class F> static float row_sum(int64_t D, F f) {
    vf sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * VL <= D; i += 4 * VL)
        for (int c = 0; c < 4; c++) sums[c] += f(i + c * VL, Whole{});
    each_vector(i, D, [&](int64_t j, auto lanes) { sums[0] += f(j, lanes); });
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static size_t workspace_rmsnorm(const Call& call) {
    return static_cast<size_t>(call.in[1].elements()) * sizeof(float);
}

static void run_rmsnorm(const Call& call, float eps) {
    const int64_t T = call.in[0].shape[0], D = call.in[0].shape[1];
    const float* w = as_floats(call.in[1], static_cast<float*>(call.workspace));
    float* rstd = call.out[1].as<float>();
    with_types(
        [&](auto* x, auto* y) {
            parallel_for(threads_for(call), T, [=](int64_t t) {
                auto* from = x + t * D;
                auto* to = y + t * D;
                const float squares = row_sum(D, [=](int64_t i, auto lanes) {
                    const vf v = load(from + i, lanes);
                    return v * v;
                });
                const float r = 1.0f / std::sqrt(squares / static_cast<float>(D) + eps);
                rstd[t] = r;
                each_vector(0, D, [=](int64_t i, auto lanes) {
                    store(to + i, load(from + i, lanes) * r * load(w + i, lanes), lanes);
                });
            });
        },
        call.in[0], call.out[0]);
}

static std::unique_ptr<Prepared> prepare_rmsnorm(const Call& call) {
    return prepared([&call, eps = static_cast<float>(call.attrs.number("eps"))](bool) { run_rmsnorm(call, eps); });
}

// Gradient. With g = dy · w: dx = r · (g − x · r² · mean(g · x)) [+ residual], dw = Σ over t of dy · x · r.

static size_t workspace_rmsnorm_grad(const Call& call) {
    const int64_t T = call.in[1].shape[0], D = call.in[1].shape[1];
    const size_t weight = static_cast<size_t>(D) * sizeof(float);
    return weight + (call.attrs.flag("dw") ? RowBlocks(T).partial_bytes(D) : 0);
}

template <class DY, class X, class R, class DX>
static void grad_row(int64_t D, const DY* dy, const X* x, const float* w, float r, const R* residual, DX* dx, float* dw) {
    const float dot = row_sum(D, [=](int64_t i, auto lanes) {
        return load(dy + i, lanes) * load(w + i, lanes) * load(x + i, lanes);
    });
    const float c = r * r * r * dot / static_cast<float>(D);
    each_vector(0, D, [=](int64_t i, auto lanes) {
        const vf g = load(dy + i, lanes), xi = load(x + i, lanes);
        vf d = g * load(w + i, lanes) * r - xi * c;
        if (residual) d += load(residual + i, lanes);
        store(dx + i, d, lanes);
        if (dw) store(dw + i, load(dw + i, lanes) + g * xi * r, lanes);
    });
}

static void run_rmsnorm_grad(const Call& call, bool has_residual, bool has_dw, bool accumulate) {
    const int64_t T = call.in[1].shape[0], D = call.in[1].shape[1];
    float* scratch = static_cast<float*>(call.workspace);
    const float* w = as_floats(call.in[2], scratch);
    float* partials = scratch + D;
    const float* rstd = call.in[3].as<float>();
    const RowBlocks blocks(T);
    with_types(
        [&](auto* dy, auto* x, auto* residual, auto* dx) {
            parallel_for(threads_for(call), blocks.count, [=](int64_t b) {
                float* dw = has_dw ? partials + b * D : nullptr;
                if (dw) std::fill_n(dw, D, 0.0f);
                for (int64_t t = b * blocks.rows; t < std::min(T, (b + 1) * blocks.rows); t++)
                    grad_row(D, dy + t * D, x + t * D, w, rstd[t], has_residual ? residual + t * D : nullptr, dx + t * D,
                             dw);
            });
        },
        call.in[0], call.in[1], has_residual ? call.in[4] : call.in[0], call.out[0]);
    if (has_dw) sum_partials(call.threads, partials, blocks.count, D, call.out[1].as<float>(), accumulate);
}

static std::unique_ptr<Prepared> prepare_rmsnorm_grad(const Call& call) {
    const bool residual = call.attrs.flag("residual"), dw = call.attrs.flag("dw");
    const Accumulate mode = dw ? accumulate_mode(call.attrs) : Accumulate::never;
    return prepared([&call, residual, dw, mode](bool first) { run_rmsnorm_grad(call, residual, dw, adds(mode, first)); });
}

extern const Kernel rmsnorm_kernel = {"rmsnorm", workspace_rmsnorm, prepare_rmsnorm};
extern const Kernel rmsnorm_grad_kernel = {"rmsnorm_grad", workspace_rmsnorm_grad, prepare_rmsnorm_grad};

} // namespace temper::TEMPER_ISA
