// cross_entropy, linear_cross_entropy and linear_logprobs with its gradient: log-probabilities of labels.
#include "cross_entropy.hpp"

#include "expect.hpp"

namespace temper {

static void check_cross_entropy(const Operands& record) {
    const bool grad = record.attrs.flag("grad");
    expect_counts(record, 3, grad ? 2 : 1);
    const Tensor& logits = record.in[0];
    expect_rank(record, logits, "logits", 2);
    expect_float(record, logits, "logits");
    expect_shape(record, record.in[1], "labels", {logits.shape[0]});
    expect_dtype(record, record.in[1], "labels", DType::i32);
    expect_shape(record, record.in[2], "weight", {1});
    expect_dtype(record, record.in[2], "weight", DType::f32);
    expect_shape(record, record.out[0], "loss", {1});
    expect_dtype(record, record.out[0], "loss", DType::f32);
    accumulate_mode(record.attrs);
    if (!grad) return;
    expect_shape(record, record.out[1], "dlogits", {logits.shape[0], logits.shape[1]});
    expect_float(record, record.out[1], "dlogits");
}

static void check_linear_head(const Operands& record) {
    const Tensor &x = record.in[0], &w = record.in[1];
    expect_rank(record, x, "x", 2);
    expect_float(record, x, "x");
    expect_rank(record, w, "w", 2);
    expect_weight(record, w, "w");
    expect_shape(record, w, "w", {w.shape[0], x.shape[1]});
    expect_shape(record, record.in[2], "labels", {x.shape[0]});
    expect_dtype(record, record.in[2], "labels", DType::i32);
    expect(record.attrs.integer("chunk_rows") >= 1, record, "chunk_rows must be at least 1");
    compute_type(record.attrs);
}

// dx, dw: null where the record has none.
static void check_head_gradients(const Operands& record, const Tensor* dx, const Tensor* dw) {
    if (dx) {
        expect_shape(record, *dx, "dx", {record.in[0].shape[0], record.in[0].shape[1]});
        expect_float(record, *dx, "dx");
    }
    if (dw) {
        expect_shape(record, *dw, "dw", {record.in[1].shape[0], record.in[1].shape[1]});
        expect_dtype(record, *dw, "dw", DType::f32);
    }
}

static void check_linear_cross_entropy(const Operands& record) {
    const bool dx = record.attrs.flag("dx"), dw = record.attrs.flag("dw");
    expect_counts(record, 4, 1u + dx + dw);
    check_linear_head(record);
    expect_shape(record, record.in[3], "weight", {1});
    expect_dtype(record, record.in[3], "weight", DType::f32);
    expect_shape(record, record.out[0], "loss", {1});
    expect_dtype(record, record.out[0], "loss", DType::f32);
    accumulate_mode(record.attrs);
    check_head_gradients(record, dx ? &record.out[1] : nullptr, dw ? &record.out.back() : nullptr);
}

static void check_linear_logprobs(const Operands& record) {
    expect_counts(record, 3, 1);
    check_linear_head(record);
    expect_shape(record, record.out[0], "logprobs", {record.in[0].shape[0]});
    expect_dtype(record, record.out[0], "logprobs", DType::f32);
}

static void check_linear_logprobs_grad(const Operands& record) {
    const bool dx = record.attrs.flag("dx"), dw = record.attrs.flag("dw");
    expect_counts(record, 4, 0u + dx + dw);
    check_linear_head(record);
    expect_shape(record, record.in[3], "dlogprobs", {record.in[0].shape[0]});
    expect_dtype(record, record.in[3], "dlogprobs", DType::f32);
    accumulate_mode(record.attrs);
    check_head_gradients(record, dx ? &record.out[0] : nullptr, dw ? &record.out.back() : nullptr);
}

static ValueRule labels_below(int64_t vocabulary) { return {.to = vocabulary, .other = NO_LABEL}; }
static ValueRule labels_of_the_logits(const Operands& record) { return labels_below(record.in[0].shape[1]); }
static ValueRule labels_of_the_head(const Operands& record) { return labels_below(record.in[1].shape[0]); }
// A negative target is one whose probability is not asked for.
static ValueRule targets_of_the_head(const Operands& record) { return {.from = INT32_MIN, .to = record.in[1].shape[0]}; }

extern const OpRules cross_entropy_rules = {"cross_entropy", check_cross_entropy,
    {{"logits"}, {"labels"}, {"weight"}}, {{"loss"}, {"dlogits", false, "grad"}},
    {{"grad", AttrType::flag}, {"accumulate", AttrType::text}},
    {{1, 0}},
    {{1, labels_of_the_logits}}};
extern const OpRules linear_cross_entropy_rules = {"linear_cross_entropy", check_linear_cross_entropy,
    {{"x"}, {"w"}, {"labels"}, {"weight"}}, {{"loss"}, {"dx", false, "dx"}, {"dw", false, "dw"}},
    {{"compute", AttrType::text}, {"dx", AttrType::flag}, {"dw", AttrType::flag}, {"chunk_rows", AttrType::integer},
     {"accumulate", AttrType::text}},
    {},
    {{2, labels_of_the_head}}};
extern const OpRules linear_logprobs_rules = {"linear_logprobs", check_linear_logprobs,
    {{"x"}, {"w"}, {"targets"}}, {{"logprobs"}},
    {{"compute", AttrType::text}, {"chunk_rows", AttrType::integer}},
    {},
    {{2, targets_of_the_head}}};
extern const OpRules linear_logprobs_grad_rules = {"linear_logprobs_grad", check_linear_logprobs_grad,
    {{"x"}, {"w"}, {"targets"}, {"dlogprobs"}}, {{"dx", false, "dx"}, {"dw", false, "dw"}},
    {{"compute", AttrType::text}, {"dx", AttrType::flag}, {"dw", AttrType::flag}, {"chunk_rows", AttrType::integer},
     {"accumulate", AttrType::text}},
    {},
    {{2, targets_of_the_head}}};

} // namespace temper
