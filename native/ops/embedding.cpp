// embedding and its gradient.
#include "expect.hpp"

namespace temper {

static void check_embedding(const Operands& record) {
    expect_counts(record, 2, 1);
    const Tensor &table = record.in[0], &ids = record.in[1], &y = record.out[0];
    expect_rank(record, table, "table", 2);
    expect_rank(record, ids, "ids", 1);
    expect_weight(record, table, "table");
    expect_dtype(record, ids, "ids", DType::i32);
    expect_float(record, y, "y");
    expect_shape(record, y, "y", {ids.shape[0], table.shape[1]});
}

static ValueRule ids_of_the_table(const Operands& record) { return {.to = record.in[0].shape[0]}; }

static void check_embedding_grad(const Operands& record) {
    expect_counts(record, 2, 1);
    const Tensor &dy = record.in[0], &ids = record.in[1], &dtable = record.out[0];
    expect_rank(record, ids, "ids", 1);
    expect_rank(record, dtable, "dtable", 2);
    expect_float(record, dy, "dy");
    expect_dtype(record, ids, "ids", DType::i32);
    expect_dtype(record, dtable, "dtable", DType::f32);
    expect_shape(record, dy, "dy", {ids.shape[0], dtable.shape[1]});
    accumulate_mode(record.attrs);
}

static ValueRule ids_of_the_gradient(const Operands& record) { return {.to = record.out[0].shape[0]}; }

extern const OpRules embedding_rules = {"embedding", check_embedding,
    {{"table"}, {"ids"}}, {{"y"}}, {}, {}, {{1, ids_of_the_table}}};
extern const OpRules embedding_grad_rules = {"embedding_grad", check_embedding_grad,
    {{"dy"}, {"ids"}}, {{"dtable"}},
    {{"accumulate", AttrType::text}},
    {},
    {{1, ids_of_the_gradient}}};

} // namespace temper
