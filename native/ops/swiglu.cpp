// swiglu and its gradient.
#include "expect.hpp"

namespace temper {

static void expect_all(const Operands& record, const Tensor& like) {
    expect_rank(record, like, "gate", 2);
    for (const auto* tensors : {&record.in, &record.out})
        for (const Tensor& tensor : *tensors) {
            expect_float(record, tensor, "every tensor");
            expect_shape(record, tensor, "a tensor", {like.shape[0], like.shape[1]});
        }
}

static void check_swiglu(const Operands& record) {
    expect_counts(record, 2, 1);
    expect_all(record, record.in[0]);
}

static void check_swiglu_grad(const Operands& record) {
    expect_counts(record, 3, 2);
    expect_all(record, record.in[1]);
}

extern const OpRules swiglu_rules = {"swiglu", check_swiglu,
    {{"gate"}, {"up"}}, {{"h"}}};
extern const OpRules swiglu_grad_rules = {"swiglu_grad", check_swiglu_grad,
    {{"dh"}, {"gate"}, {"up"}}, {{"dgate"}, {"dup"}}, {}, {{0, 1}, {1, 2}}};

} // namespace temper
