// global_norm.
#include "expect.hpp"

namespace temper {

static void check(const Operands& record) {
    expect(record.out.size() == 2 && !record.in.empty(), record, "takes at least one input and two outputs");
    for (const Tensor& g : record.in) expect_dtype(record, g, "every g", DType::f32);
    expect_dtype(record, record.out[0], "norm", DType::f32);
    expect_dtype(record, record.out[1], "norms", DType::f32);
    expect_shape(record, record.out[0], "norm", {1});
    expect_shape(record, record.out[1], "norms", {static_cast<int64_t>(record.in.size())});
}

extern const OpRules global_norm_rules = {"global_norm", check,
    {{"g", true}}, {{"norm"}, {"norms"}}};

} // namespace temper
