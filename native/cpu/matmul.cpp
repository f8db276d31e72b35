// matmul: y = Σᵢ alphaᵢ · op(aᵢ) · op(bᵢ) [+ bias] [+ residual] [+ y] (docs/plan-format.md).
#include "gemm.hpp"

namespace temper::TEMPER_ISA {

namespace {

Gemm gemm_of(const Call& call) {
    const auto& trans_a = call.attrs.get<std::vector<bool>>("trans_a");
    const auto& trans_b = call.attrs.get<std::vector<bool>>("trans_b");
    const auto& alpha = call.attrs.get<std::vector<double>>("alpha");
    const size_t products = trans_a.size();
    const Tensor& y = call.out[0];
    const int64_t m = y.shape[0], n = y.shape[1];
    Gemm gemm{.m = m, .n = n, .compute = compute_type(call.attrs), .threads = call.threads};
    for (size_t i = 0; i < products; i++) {
        const Tensor &a = call.in[2 * i], &b = call.in[2 * i + 1];
        gemm.products.push_back({.a = {a.data, a.dtype, a.shape[1], trans_a[i]},
                                 .b = {b.data, b.dtype, b.shape[1], trans_b[i]},
                                 .k = a.shape[trans_a[i] ? 0 : 1],
                                 .alpha = static_cast<float>(alpha[i])});
    }
    gemm.y = {.data = y.data, .dtype = y.dtype, .ld = n};
    if (call.attrs.flag("bias")) {
        gemm.y.bias = call.in[2 * products].data;
        gemm.y.bias_dtype = call.in[2 * products].dtype;
    }
    if (call.attrs.flag("residual")) {
        gemm.y.residual = call.in.back().data;
        gemm.y.residual_dtype = call.in.back().dtype;
        gemm.y.residual_ld = n;
    }
    return gemm;
}

size_t workspace(const Call& call) { return gemm_scratch(gemm_of(call)); }

std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([gemm = PreparedGemm(gemm_of(call), call.workspace), mode = accumulate_mode(call.attrs)](bool first) mutable {
        gemm.run(adds(mode, first));
    });
}

} // namespace

extern const Kernel matmul_kernel = {"matmul", workspace, prepare};

} // namespace temper::TEMPER_ISA
