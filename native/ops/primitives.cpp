// The primitives beside einsum that ops without a kernel are lowered to: literal, reshape, shift, unary, binary, where, pick,
// softmax_shift, one_hot, span_mask.
#include "expect.hpp"

namespace temper {

static void expect_like(const Operands& record, const Tensor& x, const char* name) {
    expect_float(record, x, name);
    expect_float(record, record.out[0], "y");
    expect(x.elements() == record.out[0].elements(), record, std::string(name) + " and y differ in their number of elements");
}

// Of y's shape, or one element for all of y.
static void expect_like_or_one(const Operands& record, const Tensor& x, const char* name) {
    if (x.elements() == 1) expect_float(record, x, name);
    else expect_like(record, x, name);
}

static void expect_function(const Operands& record, std::initializer_list<const char*> names) {
    const std::string& given = record.attrs.text("fn");
    std::string known;
    for (const char* name : names) {
        if (given == name) return;
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    expect(false, record, "fn is '" + given + "'; it must be one of " + known);
}

static void check_literal(const Operands& record) {
    expect_counts(record, 0, 1);
    expect_float(record, record.out[0], "y");
    const size_t values = record.attrs.get<std::vector<double>>("values").size();
    expect(values == 1 || static_cast<int64_t>(values) == record.out[0].elements(), record,
           "has " + std::to_string(values) + " values for " + std::to_string(record.out[0].elements()) + " elements");
}

static void check_reshape(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_like(record, record.in[0], "x");
}

static void check_shift(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_like(record, record.in[0], "x");
    record.attrs.number("by");
}

static void check_unary(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_like(record, record.in[0], "x");
    expect_function(record, {"exp", "log", "reciprocal", "rsqrt", "sqrt", "sigmoid", "tanh", "erf", "abs", "sign", "is_finite"});
}

static void check_binary(const Operands& record) {
    expect_counts(record, 2, 1);
    expect_like(record, record.in[0], "a");
    expect_like_or_one(record, record.in[1], "b");
    expect_function(record, {"add", "subtract", "multiply", "divide", "maximum", "minimum", "greater"});
}

static void check_where(const Operands& record) {
    expect_counts(record, 3, 1);
    expect_like_or_one(record, record.in[0], "condition");
    expect_like(record, record.in[1], "a");
    expect_like(record, record.in[2], "b");
}

static void check_pick(const Operands& record) {
    expect_counts(record, 1, 1);
    expect_float(record, record.in[0], "x");
    expect_float(record, record.out[0], "y");
    expect_rank(record, record.in[0], "x", 1);
    expect_shape(record, record.out[0], "y", {1});
    const int64_t index = record.attrs.integer("index");
    expect(index >= 0 && index < record.in[0].shape[0], record, "index must lie in [0, " + std::to_string(record.in[0].shape[0]) + ")");
}

static void check_softmax_shift(const Operands& record) {
    expect_counts(record, 1, 1);
    const Tensor &x = record.in[0], &y = record.out[0];
    expect_float(record, x, "x");
    expect_float(record, y, "y");
    expect(!x.shape.empty() && x.shape.back() > 0, record, "x needs a last axis with an element");
    expect(std::equal(y.shape.begin(), y.shape.end(), x.shape.begin(), x.shape.end() - 1), record, "y must have the axes of x but its last");
}

static void check_one_hot(const Operands& record) {
    expect_counts(record, 1, 1);
    const Tensor &ids = record.in[0], &y = record.out[0];
    expect_dtype(record, ids, "ids", DType::i32);
    expect_float(record, y, "y");
    expect_rank(record, y, "y", ids.shape.size() + 1);
    expect(std::equal(ids.shape.begin(), ids.shape.end(), y.shape.begin(), y.shape.end() - 1), record, "y must have the axes of ids and one more");
}

// A negative id makes a row of zeros.
static ValueRule ids_of_the_axis(const Operands& record) { return {.from = INT32_MIN, .to = record.out[0].shape.back()}; }

static void check_span_mask(const Operands& record) {
    expect_counts(record, 1, 1);
    const Tensor &spans = record.in[0], &y = record.out[0];
    expect_dtype(record, spans, "spans", DType::i32);
    expect_float(record, y, "y");
    expect_rank(record, y, "y", 2);
    expect(y.shape[0] == y.shape[1], record, "y must be square");
    expect_shape(record, spans, "spans", {y.shape[0], 2});
}

static ValueRule spans_of_the_mask(const Operands& record) {
    return {.kind = ValueRule::Kind::spans, .to = record.out[0].shape[0]};
}

extern const OpRules literal_rules = {"literal", check_literal,
    {}, {{"y"}}, {{"values", AttrType::numbers}}};
extern const OpRules reshape_rules = {"reshape", check_reshape,
    {{"x"}}, {{"y"}}, {}, {{0, 0}}};
extern const OpRules shift_rules = {"shift", check_shift,
    {{"x"}}, {{"y"}}, {{"by", AttrType::number}}, {{0, 0}}};
extern const OpRules unary_rules = {"unary", check_unary,
    {{"x"}}, {{"y"}}, {{"fn", AttrType::text}}, {{0, 0}}};
extern const OpRules binary_rules = {"binary", check_binary,
    {{"a"}, {"b"}}, {{"y"}}, {{"fn", AttrType::text}}, {{0, 0}}};
extern const OpRules where_rules = {"where", check_where,
    {{"condition"}, {"a"}, {"b"}}, {{"y"}}, {}, {{0, 1}}};
extern const OpRules pick_rules = {"pick", check_pick,
    {{"x"}}, {{"y"}}, {{"index", AttrType::integer}}};
extern const OpRules softmax_shift_rules = {"softmax_shift", check_softmax_shift,
    {{"x"}}, {{"y"}}};
extern const OpRules one_hot_rules = {"one_hot", check_one_hot,
    {{"ids"}}, {{"y"}}, {}, {}, {{0, ids_of_the_axis}}};
extern const OpRules span_mask_rules = {"span_mask", check_span_mask,
    {{"spans"}}, {{"y"}}, {}, {}, {{0, spans_of_the_mask}}};

} // namespace temper
