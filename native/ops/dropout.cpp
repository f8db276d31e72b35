// dropout.
#include "expect.hpp"

namespace temper {

// One word of the counter names four columns of a place in a pack, so a pack has this many before masks would repeat.
static constexpr int64_t COUNTERS = int64_t{1} << 32;

static int64_t counters_per_place(const Tensor& x) { return (x.shape[1] + 3) / 4; }

static void check(const Operands& record) {
    expect_counts(record, 4, 1);
    const Tensor &x = record.in[0], &y = record.out[0];
    expect_rank(record, x, "x", 2);
    expect_float(record, x, "x");
    expect_float(record, y, "y");
    expect_shape(record, y, "y", {x.shape[0], x.shape[1]});
    expect_shape(record, record.in[1], "key", {4});
    expect_shape(record, record.in[2], "packs", {x.shape[0]});
    expect_shape(record, record.in[3], "offsets", {x.shape[0]});
    for (int i = 1; i < 4; i++) expect_dtype(record, record.in[i], "key, packs and offsets", DType::i32);
    const double probability = record.attrs.number("probability");
    expect(probability >= 0 && probability <= 1, record, "probability must lie in [0, 1]");
    expect(x.shape[0] * counters_per_place(x) <= COUNTERS, record,
           "the " + std::to_string(x.shape[0]) + " × " + std::to_string(x.shape[1]) +
               " elements of x take more than the 2^32 counters of a pack, which would repeat: use a smaller packed sequence");
}

// Offsets: the place of each row within its pack.
static ValueRule places(const Operands& record) { return {.to = COUNTERS / counters_per_place(record.in[0])}; }

extern const OpRules dropout_rules = {"dropout", check,
    {{"x"}, {"key"}, {"packs"}, {"offsets"}}, {{"y"}},
    {{"probability", AttrType::number}, {"site", AttrType::integer}},
    {},
    {{3, places}}};

} // namespace temper
