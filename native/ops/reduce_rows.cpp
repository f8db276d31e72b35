// reduce_rows: a sum over the rows.
#include "expect.hpp"

namespace temper {

static void check(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_rank(record, record.in[0], "x", 2);
    expect_float(record, record.in[0], "x");
    expect_dtype(record, record.out[0], "y", DType::f32);
    expect_shape(record, record.out[0], "y", {record.in[0].shape[1]});
    accumulate_mode(record.attrs);
}

extern const OpRules reduce_rows_rules = {"reduce_rows", check,
    {{"x"}}, {{"y"}}, {{"accumulate", AttrType::text}}};

} // namespace temper
