// matmul: y = Σᵢ alphaᵢ · op(aᵢ) · op(bᵢ) [+ bias] [+ residual] [+ y] (docs/plan-format.md).
#include "expect.hpp"
#include "gemm.hpp"

namespace temper::TEMPER_ISA {

namespace {

// The record as a Gemm. Throws std::invalid_argument when it is not one.
Gemm gemm_of(const Call& call) {
    const auto& trans_a = call.attrs.get<std::vector<bool>>("trans_a");
    const auto& trans_b = call.attrs.get<std::vector<bool>>("trans_b");
    const auto& alpha = call.attrs.get<std::vector<double>>("alpha");
    const bool bias = call.attrs.flag("bias"), residual = call.attrs.flag("residual");
    const size_t products = trans_a.size();
    expect(products > 0 && trans_b.size() == products && alpha.size() == products, call,
           "trans_a, trans_b and alpha need one entry for each product");
    expect_counts(call, 2 * products + bias + residual, 1);
    const Tensor& y = call.out[0];
    expect_rank(call, y, "y", 2);
    expect_float(call, y, "y");
    expect(y.dtype == DType::f32 || call.attrs.text("accumulate") == "never", call, "only an f32 y can be added to");

    const int64_t m = y.shape[0], n = y.shape[1];
    Gemm gemm{.m = m, .n = n, .compute = compute_type(call), .threads = call.threads};
    for (size_t i = 0; i < products; i++) {
        const Tensor &a = call.in[2 * i], &b = call.in[2 * i + 1];
        const std::string a_name = "a of product " + std::to_string(i), b_name = "b of product " + std::to_string(i);
        expect_rank(call, a, a_name.c_str(), 2);
        expect_float(call, a, a_name.c_str());
        const int64_t k = a.shape[trans_a[i] ? 0 : 1];
        expect_shape(call, a, a_name.c_str(), {trans_a[i] ? k : m, trans_a[i] ? m : k});
        expect_shape(call, b, b_name.c_str(), {trans_b[i] ? n : k, trans_b[i] ? k : n});
        expect_weight(call, b, b_name.c_str());
        gemm.products.push_back({.a = {a.data, a.dtype, a.shape[1], trans_a[i]},
                                 .b = {b.data, b.dtype, b.shape[1], trans_b[i]},
                                 .k = k,
                                 .alpha = static_cast<float>(alpha[i])});
    }
    gemm.y = {.data = y.data, .dtype = y.dtype, .ld = n, .accumulate = call.accumulates()};
    if (bias) {
        const Tensor& t = call.in[2 * products];
        expect_shape(call, t, "bias", {n});
        expect_weight(call, t, "bias");
        gemm.y.bias = t.data;
        gemm.y.bias_dtype = t.dtype;
    }
    if (residual) {
        const Tensor& t = call.in.back();
        expect_shape(call, t, "residual", {m, n});
        expect_float(call, t, "residual");
        gemm.y.residual = t.data;
        gemm.y.residual_dtype = t.dtype;
        gemm.y.residual_ld = n;
    }
    return gemm;
}

void check(const Call& call) { gemm_of(call); }
size_t workspace(const Call& call) { return gemm_scratch(gemm_of(call)); }
void run(Call& call) { gemm(gemm_of(call), call.workspace); }

} // namespace

extern const Op matmul_op = {"matmul", check, workspace, run,
                             {{"compute", AttrType::text}, {"trans_a", AttrType::flags}, {"trans_b", AttrType::flags},
                              {"alpha", AttrType::numbers}, {"bias", AttrType::flag}, {"residual", AttrType::flag},
                              {"accumulate", AttrType::text}},
                             {{0, -1, "residual"}}};

} // namespace temper::TEMPER_ISA
