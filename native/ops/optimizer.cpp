// adamw and sgd: a step of one parameter.
#include "optimizer.hpp"

#include "expect.hpp"

namespace temper {

// Inputs p, g, norm, max_norm and the optimizer's scalars; outputs p and `states` more of p's shape.
static void expect_optimizer(const Operands& record, size_t scalars, size_t states) {
    expect_counts(record, 5, 1 + states);
    const Tensor &p = record.in[0], &g = record.in[1];
    expect_dtype(record, p, "p", DType::f32);
    expect_dtype(record, g, "g", DType::f32);
    expect(g.elements() == p.elements(), record, "g and p differ in their number of elements");
    for (const Tensor& out : record.out) {
        expect_dtype(record, out, "every output", DType::f32);
        expect(out.elements() == p.elements(), record, "an output and p differ in their number of elements");
    }
    const char* names[] = {"norm", "max_norm", "scalars"};
    for (int i = 0; i < 3; i++) {
        expect_dtype(record, record.in[static_cast<size_t>(2 + i)], names[i], DType::f32);
        expect_shape(record, record.in[static_cast<size_t>(2 + i)], names[i], {i < 2 ? 1 : static_cast<int64_t>(scalars)});
    }
}

static void check_adamw(const Operands& record) { expect_optimizer(record, sizeof(AdamwScalars) / sizeof(float), 2); }

static void check_sgd(const Operands& record) {
    expect_optimizer(record, sizeof(SgdScalars) / sizeof(float), record.attrs.flag("momentum") ? 1 : 0);
}

extern const OpRules adamw_rules = {"adamw", check_adamw,
    {{"p"}, {"g"}, {"norm"}, {"max_norm"}, {"scalars"}}, {{"p"}, {"m"}, {"v"}}, {{"weight_decay", AttrType::number}}, {{0, 0}}};
extern const OpRules sgd_rules = {"sgd", check_sgd,
    {{"p"}, {"g"}, {"norm"}, {"max_norm"}, {"scalars"}}, {{"p"}, {"momentum", false, "momentum"}},
    {{"weight_decay", AttrType::number}, {"momentum", AttrType::flag}},
    {{0, 0}}};

} // namespace temper
