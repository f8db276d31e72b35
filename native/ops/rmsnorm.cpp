// rmsnorm and its gradient.
#include "expect.hpp"

namespace temper {

static void check_rmsnorm(const Operands& record) {
    expect_counts(record, 2, 2);
    const Tensor &x = record.in[0], &w = record.in[1], &y = record.out[0], &rstd = record.out[1];
    expect_rank(record, x, "x", 2);
    expect_float(record, x, "x");
    expect_weight(record, w, "w");
    expect_float(record, y, "y");
    expect_dtype(record, rstd, "rstd", DType::f32);
    expect_shape(record, w, "w", {x.shape[1]});
    expect_shape(record, y, "y", {x.shape[0], x.shape[1]});
    expect_shape(record, rstd, "rstd", {x.shape[0]});
    record.attrs.number("eps");
}

static void check_rmsnorm_grad(const Operands& record) {
    const bool residual = record.attrs.flag("residual"), dw = record.attrs.flag("dw");
    expect_counts(record, residual ? 5 : 4, dw ? 2 : 1);
    const Tensor &dy = record.in[0], &x = record.in[1], &w = record.in[2], &rstd = record.in[3], &dx = record.out[0];
    expect_rank(record, x, "x", 2);
    const int64_t T = x.shape[0], D = x.shape[1];
    expect_float(record, dy, "dy");
    expect_float(record, x, "x");
    expect_weight(record, w, "w");
    expect_dtype(record, rstd, "rstd", DType::f32);
    expect_float(record, dx, "dx");
    expect_shape(record, dy, "dy", {T, D});
    expect_shape(record, w, "w", {D});
    expect_shape(record, rstd, "rstd", {T});
    expect_shape(record, dx, "dx", {T, D});
    if (residual) {
        expect_float(record, record.in[4], "residual");
        expect_shape(record, record.in[4], "residual", {T, D});
    }
    if (dw) {
        expect_dtype(record, record.out[1], "dw", DType::f32);
        expect_shape(record, record.out[1], "dw", {D});
        accumulate_mode(record.attrs);
    }
}

extern const OpRules rmsnorm_rules = {"rmsnorm", check_rmsnorm,
    {{"x"}, {"w"}}, {{"y"}, {"rstd"}}, {{"eps", AttrType::number}}};
extern const OpRules rmsnorm_grad_rules = {"rmsnorm_grad", check_rmsnorm_grad,
    {{"dy"}, {"x"}, {"w"}, {"rstd"}, {"residual", false, "residual"}}, {{"dx"}, {"dw", false, "dw"}},
    {{"residual", AttrType::flag}, {"dw", AttrType::flag}, {"accumulate", AttrType::text}},
    {{0, -1, "residual"}}};

} // namespace temper
