// act and its gradient.
#include "activation.hpp"

namespace temper {

static void expect_all(const Operands& record) {
    expect_activation(record);
    for (const auto* tensors : {&record.in, &record.out})
        for (const Tensor& tensor : *tensors) {
            expect_float(record, tensor, "every tensor");
            expect(tensor.shape == record.out[0].shape, record, "all tensors must have one shape");
        }
}

static void check_act(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_all(record);
}

static void check_act_grad(const Operands& record) {
    expect_counts(record, 2, 1);
    expect_all(record);
}

extern const OpRules act_rules = {"act", check_act,
    {{"x"}}, {{"y"}}, {{"fn", AttrType::text}}, {{0, 0}}};
extern const OpRules act_grad_rules = {"act_grad", check_act_grad,
    {{"dy"}, {"x"}}, {{"dx"}}, {{"fn", AttrType::text}}, {{0, 0}, {0, 1}}};

} // namespace temper
