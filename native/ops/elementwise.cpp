// fill, cast, add, scale, accumulate.
#include "expect.hpp"

namespace temper {

static void expect_same_elements(const Operands& record, const Tensor& x, const Tensor& y) {
    expect(x.elements() == y.elements(), record, "input and output differ in their number of elements");
}

static void check_fill(const Operands& record) {
    expect_counts(record, 0, 1);
    record.attrs.number("value");
}

static void check_cast(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_weight(record, record.in[0], "x");
    expect_float(record, record.out[0], "y");
    expect_same_elements(record, record.in[0], record.out[0]);
}

static void check_add(const Operands& record) {
    expect_counts(record, 2, 1);
    expect_float(record, record.in[0], "a");
    expect_float(record, record.in[1], "b");
    expect_float(record, record.out[0], "y");
    expect_same_elements(record, record.in[0], record.out[0]);
    expect_same_elements(record, record.in[1], record.out[0]);
}

static void check_scale(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_float(record, record.in[0], "x");
    expect_float(record, record.out[0], "y");
    expect_same_elements(record, record.in[0], record.out[0]);
    record.attrs.number("alpha");
}

static void check_accumulate(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_float(record, record.in[0], "x");
    expect_dtype(record, record.out[0], "y", DType::f32);
    expect_same_elements(record, record.in[0], record.out[0]);
    accumulate_mode(record.attrs);
}

extern const OpRules fill_rules = {"fill", check_fill,
    {}, {{"y"}}, {{"value", AttrType::number}}};
extern const OpRules cast_rules = {"cast", check_cast,
    {{"x"}}, {{"y"}}};
extern const OpRules add_rules = {"add", check_add,
    {{"a"}, {"b"}}, {{"y"}}, {}, {{0, 0}, {0, 1}}};
extern const OpRules scale_rules = {"scale", check_scale,
    {{"x"}}, {{"y"}}, {{"alpha", AttrType::number}}};
extern const OpRules accumulate_rules = {"accumulate", check_accumulate,
    {{"x"}}, {{"y"}}, {{"accumulate", AttrType::text}}};

} // namespace temper
