// attention and its gradient.
#include "expect.hpp"

namespace temper {

static void expect_attention(const Operands& record, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& spans) {
    const int64_t K = record.attrs.integer("head_dim");
    compute_type(record.attrs);
    expect(K > 0 && K <= 256, record, "head_dim must lie in [1, 256]");
    expect(record.attrs.number("scale") > 0, record, "scale must be positive");
    expect_rank(record, q, "q", 2);
    expect_rank(record, k, "k", 2);
    expect_whole_heads(record, q, "q", K);
    expect_whole_heads(record, k, "k", K);
    expect(q.shape[1] % k.shape[1] == 0, record, "the heads of q must be a multiple of those of k and v");
    const int64_t T = q.shape[0];
    expect_shape(record, k, "k", {T, k.shape[1]});
    expect_shape(record, v, "v", {T, k.shape[1]});
    for (const Tensor* x : {&q, &k, &v}) expect_float(record, *x, "q, k and v");
    expect_dtype(record, spans, "spans", DType::i32);
    expect_shape(record, spans, "spans", {T, 2});
}

static void check_attention(const Operands& record) {
    expect_counts(record, 4, 2);
    expect_attention(record, record.in[0], record.in[1], record.in[2], record.in[3]);
    const Tensor &q = record.in[0], &o = record.out[0], &lse = record.out[1];
    expect_float(record, o, "o");
    expect_shape(record, o, "o", {q.shape[0], q.shape[1]});
    expect_dtype(record, lse, "lse", DType::f32);
    expect_shape(record, lse, "lse", {q.shape[1] / record.attrs.integer("head_dim"), q.shape[0]});
}

static void check_attention_grad(const Operands& record) {
    expect_counts(record, 7, 3);
    const Tensor &dout = record.in[0], &q = record.in[1], &k = record.in[2], &v = record.in[3], &o = record.in[4], &lse = record.in[5];
    expect_attention(record, q, k, v, record.in[6]);
    for (const Tensor* x : {&dout, &o, &record.out[0]}) {
        expect_float(record, *x, "do, o and dq");
        expect_shape(record, *x, "do, o and dq", {q.shape[0], q.shape[1]});
    }
    for (const Tensor* x : {&record.out[1], &record.out[2]}) {
        expect_float(record, *x, "dk and dv");
        expect_shape(record, *x, "dk and dv", {k.shape[0], k.shape[1]});
    }
    expect_dtype(record, lse, "lse", DType::f32);
    expect_shape(record, lse, "lse", {q.shape[1] / record.attrs.integer("head_dim"), q.shape[0]});
}

static ValueRule spans_of_the_buffer(const Operands& record) {
    return {.kind = ValueRule::Kind::spans, .to = record.out[0].shape[0]};
}

extern const OpRules attention_rules = {"attention", check_attention,
    {{"q"}, {"k"}, {"v"}, {"spans"}}, {{"o"}, {"lse"}},
    {{"compute", AttrType::text}, {"head_dim", AttrType::integer}, {"scale", AttrType::number}},
    {},
    {{3, spans_of_the_buffer}}};
extern const OpRules attention_grad_rules = {"attention_grad", check_attention_grad,
    {{"do"}, {"q"}, {"k"}, {"v"}, {"o"}, {"lse"}, {"spans"}}, {{"dq"}, {"dk"}, {"dv"}},
    {{"compute", AttrType::text}, {"head_dim", AttrType::integer}, {"scale", AttrType::number}},
    {},
    {{6, spans_of_the_buffer}}};

} // namespace temper
