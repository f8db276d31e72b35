// rmsnorm: y = x · r · w with r = 1 ÷ √(mean(x²) + eps) (Zhang & Sennrich 2019), and its gradient.
#include "expect.hpp"
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

static void check_rmsnorm(const Call& call) {
    expect_counts(call, 2, 2);
    const Tensor &x = call.in[0], &w = call.in[1], &y = call.out[0], &rstd = call.out[1];
    expect_rank(call, x, "x", 2);
    expect_float(call, x, "x");
    expect_weight(call, w, "w");
    expect_float(call, y, "y");
    expect_dtype(call, rstd, "rstd", DType::f32);
    expect_shape(call, w, "w", {x.shape[1]});
    expect_shape(call, y, "y", {x.shape[0], x.shape[1]});
    expect_shape(call, rstd, "rstd", {x.shape[0]});
    call.attrs.number("eps");
}

static size_t workspace_rmsnorm(const Call& call) {
    return static_cast<size_t>(call.in[1].elements()) * sizeof(float);
}

static void run_rmsnorm(Call& call) {
    const int64_t T = call.in[0].shape[0], D = call.in[0].shape[1];
    const float eps = static_cast<float>(call.attrs.number("eps"));
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

// Gradient. With g = dy · w: dx = r · (g − x · r² · mean(g · x)) [+ residual], dw = Σ over t of dy · x · r.

static void check_rmsnorm_grad(const Call& call) {
    const bool residual = call.attrs.flag("residual"), dw = call.attrs.flag("dw");
    expect_counts(call, residual ? 5 : 4, dw ? 2 : 1);
    const Tensor &dy = call.in[0], &x = call.in[1], &w = call.in[2], &rstd = call.in[3], &dx = call.out[0];
    expect_rank(call, x, "x", 2);
    const int64_t T = x.shape[0], D = x.shape[1];
    expect_float(call, dy, "dy");
    expect_float(call, x, "x");
    expect_weight(call, w, "w");
    expect_dtype(call, rstd, "rstd", DType::f32);
    expect_float(call, dx, "dx");
    expect_shape(call, dy, "dy", {T, D});
    expect_shape(call, w, "w", {D});
    expect_shape(call, rstd, "rstd", {T});
    expect_shape(call, dx, "dx", {T, D});
    if (residual) {
        expect_float(call, call.in[4], "residual");
        expect_shape(call, call.in[4], "residual", {T, D});
    }
    if (dw) {
        expect_dtype(call, call.out[1], "dw", DType::f32);
        expect_shape(call, call.out[1], "dw", {D});
        call.accumulates();
    }
}

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

static void run_rmsnorm_grad(Call& call) {
    const int64_t T = call.in[1].shape[0], D = call.in[1].shape[1];
    const bool has_residual = call.attrs.flag("residual"), has_dw = call.attrs.flag("dw");
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
    if (has_dw) sum_partials(call.threads, partials, blocks.count, D, call.out[1].as<float>(), call.accumulates());
}

extern const Op rmsnorm_op = {"rmsnorm", check_rmsnorm, workspace_rmsnorm, run_rmsnorm, {{"eps", AttrType::number}}};
extern const Op rmsnorm_grad_op = {"rmsnorm_grad", check_rmsnorm_grad, workspace_rmsnorm_grad, run_rmsnorm_grad,
                                   {{"residual", AttrType::flag}, {"dw", AttrType::flag},
                                    {"accumulate", AttrType::text}},
                                   {{0, -1, "residual"}}};

} // namespace temper::TEMPER_ISA
