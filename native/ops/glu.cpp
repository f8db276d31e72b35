// glu and its gradient.
#include "activation.hpp"

namespace temper {

static void expect_all(const Operands& record, const Tensor& like) {
    expect_activation(record);
    expect_rank(record, like, "gate", 2);
    for (const auto* tensors : {&record.in, &record.out})
        for (const Tensor& tensor : *tensors) {
            expect_float(record, tensor, "every tensor");
            expect_shape(record, tensor, "a tensor", {like.shape[0], like.shape[1]});
        }
}

static void check_glu(const Operands& record) {
    expect_counts(record, 2, 1);
    expect_all(record, record.in[0]);
}

static void check_glu_grad(const Operands& record) {
    expect_counts(record, 3, 2);
    expect_all(record, record.in[1]);
}

extern const OpRules glu_rules = {"glu", check_glu,
    {{"gate"}, {"up"}}, {{"h"}}, {{"fn", AttrType::text}}};
extern const OpRules glu_grad_rules = {"glu_grad", check_glu_grad,
    {{"dh"}, {"gate"}, {"up"}}, {{"dgate"}, {"dup"}}, {{"fn", AttrType::text}}, {{0, 1}, {1, 2}}};

} // namespace temper
