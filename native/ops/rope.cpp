// rope: rotary position embedding.
#include "expect.hpp"

namespace temper {

static void check(const Operands& record) {
    expect_counts(record, 3, 1);
    const Tensor &x = record.in[0], &table = record.in[1], &positions = record.in[2], &y = record.out[0];
    const int64_t K = record.attrs.integer("head_dim");
    expect(K > 0 && K % 2 == 0, record, "head_dim must be positive and even");
    record.attrs.flag("inverse");
    expect_rank(record, x, "x", 2);
    expect_rank(record, table, "table", 2);
    expect_float(record, x, "x");
    expect_float(record, y, "y");
    expect_dtype(record, table, "table", DType::f32);
    expect_dtype(record, positions, "positions", DType::i32);
    expect_whole_heads(record, x, "x", K);
    expect_shape(record, y, "y", {x.shape[0], x.shape[1]});
    expect_shape(record, table, "table", {table.shape[0], K});
    expect_shape(record, positions, "positions", {x.shape[0]});
}

static ValueRule positions_of_the_table(const Operands& record) { return {.to = record.in[1].shape[0]}; }

extern const OpRules rope_rules = {"rope", check,
    {{"x"}, {"table"}, {"positions"}}, {{"y"}},
    {{"head_dim", AttrType::integer}, {"inverse", AttrType::flag}},
    {},
    {{2, positions_of_the_table}}};

} // namespace temper
