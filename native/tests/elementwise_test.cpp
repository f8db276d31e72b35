// fill, cast, add, scale, accumulate: element by element against double precision.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

namespace {

const std::vector<std::vector<int64_t>> shapes = {{1, 1}, {1, 7}, {3, 17}, {5, 64}, {13, 101}, {7, 2903}, {13, 2903}};
const DType floats[] = {DType::f32, DType::bf16};

// Every result within a few roundings of the reference, whose own size (before cancellation) is `size`.
void check_elements(const std::vector<double>& result, DType dtype, double ulps, const std::function<double(int64_t)>& reference,
                    const std::function<double(int64_t)>& size) {
    for (size_t i = 0; i < result.size(); i++) {
        const auto n = static_cast<int64_t>(i);
        const double tolerance = rounding(dtype) * std::fabs(reference(n)) * 1.01 + ulps * 0x1p-24 * std::fabs(size(n));
        CHECK_CLOSE(result[i], reference(n), tolerance + 1e-40);
    }
}

} // namespace

TEST(fill_writes_every_element) {
    for (DType dtype : {DType::f32, DType::bf16, DType::i32})
        for (const auto& shape : shapes)
            Invocation{"fill", {{"value", -2.0}}, {}, {zeros(dtype, shape)}}.on_each_isa([](const auto& results) {
                for (double x : results[0]) CHECK_EQ(x, -2.0);
            });
}

TEST(cast_rounds_to_nearest_even) {
    for (DType from : floats)
        for (DType to : floats)
            for (const auto& shape : shapes) {
                const Values x = normal(from, shape);
                Invocation{"cast", {}, {x}, {zeros(to, shape)}}.on_each_isa([&](const auto& results) {
                    for (size_t i = 0; i < x.data.size(); i++)
                        CHECK_EQ(results[0][i], to == DType::bf16 ? round_to_bf16(static_cast<float>(x.data[i])) : x.data[i]);
                });
            }
}

TEST(cast_keeps_infinity_nan_and_ties) {
    Values x = values(DType::f32, {19}, std::vector<double>(19, 1.0));
    x.data[0] = INFINITY, x.data[1] = -INFINITY, x.data[2] = NAN;
    x.data[3] = 1 + 0x1p-8;       // halfway between 1 and its neighbour: to even, down
    x.data[4] = 1 + 3 * 0x1p-8;   // halfway: to even, up
    x.data[5] = 3.4028234e38;     // past the largest bf16
    x.data[18] = -0.0;            // in the tail
    Invocation{"cast", {}, {x}, {zeros(DType::bf16, {19})}}.on_each_isa([](const auto& results) {
        const std::vector<double>& y = results[0];
        CHECK(y[0] == INFINITY && y[1] == -INFINITY && std::isnan(y[2]));
        CHECK_EQ(y[3], 1.0);
        CHECK_EQ(y[4], 1 + 0x1p-6);
        CHECK_EQ(y[5], INFINITY);
        CHECK(std::signbit(y[18]));
    });
}

TEST(cast_reads_every_half) {
    // All 65536 bit patterns against the definition: (−1)^s · 2^(e−25) · (m + 1024), subnormals without the 1024.
    constexpr int n = 65536;
    ThreadPool pool(2);
    for (const std::string& isa : available_isas()) {
        Memory from(2 * n), to(4 * n);
        for (int i = 0; i < n; i++) static_cast<uint16_t*>(from.get())[i] = static_cast<uint16_t>(i);
        Call call{{{{DType::f16, {n}, from.get()}}, {{DType::f32, {n}, to.get()}}, {"cast", {}}}, pool.threads(), nullptr};
        find_kernel(isa, "cast")->prepare(call)->run(false);
        for (int i = 0; i < n; i++) {
            const int exponent = i >> 10 & 31, mantissa = i & 1023;
            double expected = std::ldexp(exponent ? mantissa + 1024 : mantissa, std::max(exponent, 1) - 25);
            if (exponent == 31) expected = mantissa ? NAN : INFINITY;
            if (i & 0x8000) expected = -expected;
            const float y = static_cast<float*>(to.get())[i];
            CHECK(std::isnan(expected) ? std::isnan(y) : y == expected);
        }
    }
}

TEST(add_adds_any_mixture_of_types) {
    for (DType a : floats)
        for (DType b : floats)
            for (DType y : floats)
                for (const auto& shape : shapes) {
                    const Values va = normal(a, shape), vb = normal(b, shape);
                    Invocation{"add", {}, {va, vb}, {zeros(y, shape)}}.on_each_isa([&](const auto& results) {
                        check_elements(results[0], y, 1, [&](int64_t i) { return va[i] + vb[i]; },
                                       [&](int64_t i) { return va[i] + vb[i]; });
                    });
                }
}

TEST(add_may_write_onto_its_first_input) {
    const Values a = normal(DType::f32, {20011}), b = normal(DType::bf16, {20011});
    Invocation{"add", {}, {a, b}, {zeros(DType::f32, {20011})}, false, {{0, 0}}}.on_each_isa([&](const auto& results) {
        for (int64_t i = 0; i < 20011; i++)
            CHECK_EQ(results[0][static_cast<size_t>(i)], static_cast<float>(a[i]) + static_cast<float>(b[i]));
    });
}

TEST(scale_multiplies) {
    for (DType y : floats)
        for (const auto& shape : shapes) {
            const Values x = normal(DType::bf16, shape);
            Invocation{"scale", {{"alpha", 0.3}}, {x}, {zeros(y, shape)}}.on_each_isa([&](const auto& results) {
                auto expected = [&](int64_t i) { return x[i] * 0.3; };
                check_elements(results[0], y, 2, expected, expected);
            });
        }
}

TEST(accumulate_adds_to_its_output_but_where_it_overwrites) {
    struct Case { std::string mode; bool first, adds; };
    for (const auto& [mode, first, adds] : {Case{"always", true, true}, {"always", false, true}, {"after_first", true, false},
                                            {"after_first", false, true}, {"never", false, false}})
        for (DType dtype : floats)
            for (const auto& shape : shapes) {
                const Values x = normal(dtype, shape), y = normal(DType::f32, shape);
                Invocation{"accumulate", {{"accumulate", mode}}, {x}, {y}, first}.on_each_isa([&](const auto& results) {
                    for (int64_t i = 0; i < count(shape); i++)
                        CHECK_EQ(results[0][static_cast<size_t>(i)],
                                 static_cast<float>(x[i]) + (adds ? static_cast<float>(y[i]) : 0.0f));
                });
            }
}

TEST(elementwise_checks_name_the_op) {
    CHECK_THROWS((Invocation{"add", {}, {zeros(DType::f32, {3}), zeros(DType::f32, {4})}, {zeros(DType::f32, {3})}}.run("portable", 1)), "add: ");
    CHECK_THROWS((Invocation{"scale", {}, {zeros(DType::f32, {3})}, {zeros(DType::f32, {3})}}.run("portable", 1)), "'alpha' is missing");
}
