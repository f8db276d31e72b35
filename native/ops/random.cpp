// random_normal and random_uniform: initial values of trained parameters.
#include "expect.hpp"

namespace temper {

static void expect_output(const Operands& record) {
    expect_counts(record, 0, 1);
    expect_dtype(record, record.out[0], "y", DType::f32);
    record.attrs.number("seed");
    record.attrs.number("site");
}

static void check_random_normal(const Operands& record) {
    expect_output(record);
    record.attrs.number("std");
}

static void check_random_uniform(const Operands& record) {
    expect_output(record);
    record.attrs.number("bound");
}

extern const OpRules random_normal_rules = {"random_normal", check_random_normal,
    {}, {{"y"}},
    {{"seed", AttrType::integer}, {"site", AttrType::integer}, {"std", AttrType::number}}};
extern const OpRules random_uniform_rules = {"random_uniform", check_random_uniform,
    {}, {{"y"}},
    {{"seed", AttrType::integer}, {"site", AttrType::integer}, {"bound", AttrType::number}}};

} // namespace temper
