// matmul: a sum of products of matrices.
#include "expect.hpp"

namespace temper {

static void check(const Operands& record) {
    const auto& trans_a = record.attrs.get<std::vector<bool>>("trans_a");
    const auto& trans_b = record.attrs.get<std::vector<bool>>("trans_b");
    const auto& alpha = record.attrs.get<std::vector<double>>("alpha");
    const bool bias = record.attrs.flag("bias"), residual = record.attrs.flag("residual");
    const size_t products = trans_a.size();
    compute_type(record.attrs);
    const Accumulate accumulate = accumulate_mode(record.attrs);
    expect(products > 0 && trans_b.size() == products && alpha.size() == products, record,
           "trans_a, trans_b and alpha need one entry for each product");
    expect_counts(record, 2 * products + bias + residual, 1);
    const Tensor& y = record.out[0];
    expect_rank(record, y, "y", 2);
    expect_float(record, y, "y");
    expect(y.dtype == DType::f32 || accumulate == Accumulate::never, record, "only an f32 y can be added to");

    const int64_t m = y.shape[0], n = y.shape[1];
    for (size_t i = 0; i < products; i++) {
        const Tensor &a = record.in[2 * i], &b = record.in[2 * i + 1];
        const std::string a_name = "a of product " + std::to_string(i), b_name = "b of product " + std::to_string(i);
        expect_rank(record, a, a_name.c_str(), 2);
        expect_float(record, a, a_name.c_str());
        const int64_t k = a.shape[trans_a[i] ? 0 : 1];
        expect_shape(record, a, a_name.c_str(), {trans_a[i] ? k : m, trans_a[i] ? m : k});
        expect_shape(record, b, b_name.c_str(), {trans_b[i] ? n : k, trans_b[i] ? k : n});
        expect_weight(record, b, b_name.c_str());
    }
    if (bias) {
        expect_shape(record, record.in[2 * products], "bias", {n});
        expect_weight(record, record.in[2 * products], "bias");
    }
    if (residual) {
        expect_shape(record, record.in.back(), "residual", {m, n});
        expect_float(record, record.in.back(), "residual");
    }
}

extern const OpRules matmul_rules = {"matmul", check,
    {{"a", true}, {"b", true}, {"bias", false, "bias"}, {"residual", false, "residual"}}, {{"y"}},
    {{"compute", AttrType::text}, {"trans_a", AttrType::flags}, {"trans_b", AttrType::flags}, {"alpha", AttrType::numbers},
     {"bias", AttrType::flag}, {"residual", AttrType::flag}, {"accumulate", AttrType::text}},
    {{0, -1, "residual"}}};

} // namespace temper
