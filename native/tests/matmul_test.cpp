// matmul against a double-precision product of the same (for compute "bf16": rounded) factors.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

namespace {

struct Shape {
    int64_t m, n;
    std::vector<int64_t> k; // one per product
};

struct Case {
    Shape shape;
    std::string compute = "f32";
    std::vector<bool> trans_a, trans_b;
    std::vector<double> alpha;
    std::vector<DType> a_dtype, b_dtype;
    DType y_dtype = DType::f32;
    bool bias = false, residual = false;
    DType bias_dtype = DType::f32, residual_dtype = DType::f32;
    std::string accumulate = "never";
};

Case plain(Shape shape, const std::string& compute, bool trans_a, bool trans_b, DType a, DType b) {
    const size_t products = shape.k.size();
    return {.shape = shape,
            .compute = compute,
            .trans_a = std::vector<bool>(products, trans_a),
            .trans_b = std::vector<bool>(products, trans_b),
            .alpha = std::vector<double>(products, 1),
            .a_dtype = std::vector<DType>(products, a),
            .b_dtype = std::vector<DType>(products, b)};
}

// A sum of K products in float32, in any order, is off by about √K half ulps of the sum of their sizes; the last
// terms are for storing y.
void compare(const Case& test) {
    const auto [m, n, ks] = test.shape;
    Invocation call{"matmul", {}, {}, {}};
    std::vector<double> expected(static_cast<size_t>(m * n)), size(expected.size());
    double terms = 8;
    for (size_t p = 0; p < ks.size(); p++) {
        const int64_t k = ks[p];
        const bool ta = test.trans_a[p], tb = test.trans_b[p];
        const Values a = normal(test.a_dtype[p], ta ? std::vector{k, m} : std::vector{m, k});
        const Values b = normal(test.b_dtype[p], tb ? std::vector{n, k} : std::vector{k, n});
        std::vector<double> factors[2] = {a.data, b.data};
        if (test.compute == "bf16")
            for (auto& factor : factors)
                for (double& x : factor) x = round_to_bf16(static_cast<float>(x));
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0, absolute = 0;
                for (int64_t l = 0; l < k; l++) {
                    const double term = factors[0][static_cast<size_t>(ta ? l * m + i : i * k + l)] *
                                        factors[1][static_cast<size_t>(tb ? j * k + l : l * n + j)];
                    sum += term;
                    absolute += std::fabs(term);
                }
                expected[static_cast<size_t>(i * n + j)] += test.alpha[p] * sum;
                size[static_cast<size_t>(i * n + j)] += std::fabs(test.alpha[p]) * absolute;
            }
        terms += std::sqrt(static_cast<double>(k));
        call.in.push_back(a);
        call.in.push_back(b);
    }
    auto add = [&](const Values& addend, bool rows) {
        for (size_t i = 0; i < expected.size(); i++) {
            const double x = addend.data[rows ? i : i % static_cast<size_t>(n)];
            expected[i] += x;
            size[i] += std::fabs(x);
        }
    };
    if (test.bias) add(call.in.emplace_back(normal(test.bias_dtype, {n})), false);
    if (test.residual) add(call.in.emplace_back(normal(test.residual_dtype, {m, n})), true);
    call.out = {normal(test.y_dtype, {m, n})};
    const bool in_place = test.residual && test.residual_dtype == test.y_dtype && test.accumulate == "never";
    if (in_place) call.in_place = {{0, call.in.size() - 1}};
    if (test.accumulate == "always") add(call.out[0], true);
    call.attrs = {{"compute", test.compute}, {"trans_a", test.trans_a}, {"trans_b", test.trans_b},
                  {"alpha", test.alpha},     {"bias", test.bias},       {"residual", test.residual},
                  {"accumulate", test.accumulate}};
    call.on_each_isa([&](const auto& results) {
        for (size_t i = 0; i < expected.size(); i++)
            CHECK_CLOSE(results[0][i], expected[i],
                        terms * 0x1p-24 * size[i] + rounding(test.y_dtype) * std::fabs(expected[i]) * 1.01);
    });
}

constexpr DType F32 = DType::f32, BF16 = DType::bf16, F16 = DType::f16;

int64_t any_size() {
    const std::vector<int64_t> sizes = {1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 47, 48, 49, 64, 97, 101};
    return sizes[static_cast<size_t>(whole(0, static_cast<int64_t>(sizes.size()) - 1))];
}
DType any_float() { return whole(0, 1) ? F32 : BF16; }

} // namespace

TEST(multiplies_every_transposition_of_every_dtype) {
    for (const char* compute : {"f32", "bf16"})
        for (bool trans_a : {false, true})
            for (bool trans_b : {false, true})
                for (DType a : {F32, BF16})
                    for (DType b : {F32, BF16, F16}) {
                        compare(plain({29, 53, {37}}, compute, trans_a, trans_b, a, b));
                        compare(plain({32, 96, {64}}, compute, trans_a, trans_b, a, b));
                    }
}

TEST(multiplies_any_size) {
    for (int i = 0; i < 60; i++)
        compare(plain({any_size(), any_size(), {any_size()}}, whole(0, 1) ? "f32" : "bf16", whole(0, 1), whole(0, 1),
                      any_float(), any_float()));
}

TEST(adds_products_of_different_length_and_alpha_with_bias_and_residual) {
    for (int i = 0; i < 60; i++) {
        Case test = plain({any_size(), any_size(), {any_size(), any_size(), any_size()}},
                          whole(0, 1) ? "f32" : "bf16", false, false, F32, F32);
        for (size_t p = 0; p < 3; p++) {
            test.trans_a[p] = whole(0, 1);
            test.trans_b[p] = whole(0, 1);
            test.a_dtype[p] = any_float();
            test.b_dtype[p] = any_float();
            test.alpha[p] = std::vector{1.0, 2.0, 0.0, -0.3, 1.7}[static_cast<size_t>(whole(0, 4))];
        }
        test.bias = whole(0, 1);
        test.residual = whole(0, 1);
        test.bias_dtype = any_float();
        test.residual_dtype = any_float();
        test.y_dtype = any_float();
        if (test.y_dtype == F32 && whole(0, 1)) test.accumulate = "always";
        compare(test);
    }
}

TEST(multiplies_when_k_takes_several_passes) {
    for (const char* compute : {"f32", "bf16"})
        for (bool trans : {false, true}) {
            Case test = plain({27, 131, {2111, 1601, 16}}, compute, trans, trans, BF16, F32);
            test.alpha = {1, 0.5, 3};
            compare(test);
        }
}

TEST(multiplies_more_rows_than_one_block_of_sums) {
    compare(plain({1031, 7, {1701}}, "bf16", false, true, BF16, BF16));
}

TEST(multiplies_low_rank_shapes) {
    for (const char* compute : {"f32", "bf16"}) {
        compare(plain({200, 16, {192}}, compute, false, true, BF16, F32)); // u = x · Aᵀ
        compare(plain({200, 192, {16}}, compute, false, true, BF16, F32)); // u · Bᵀ
        compare(plain({16, 192, {200}}, compute, true, false, BF16, BF16)); // dA = duᵀ · x
        compare(plain({192, 16, {200}}, compute, true, false, BF16, BF16)); // dB = dyᵀ · u
    }
}

TEST(first_run_of_after_first_overwrites) {
    Invocation call{"matmul",
                    {{"compute", std::string("f32")}, {"trans_a", std::vector{false}}, {"trans_b", std::vector{false}},
                     {"alpha", std::vector{1.0}}, {"bias", false}, {"residual", false}, {"accumulate", std::string("after_first")}},
                    {values(F32, {1, 1}, {3}), values(F32, {1, 1}, {5})},
                    {values(F32, {1, 1}, {100})}};
    call.on_each_isa([](const auto& results) { CHECK_EQ(results[0][0], 115); });
    call.first = true;
    call.on_each_isa([](const auto& results) { CHECK_EQ(results[0][0], 15); });
}

TEST(refuses_shapes_that_do_not_multiply) {
    Invocation call{"matmul",
                    {{"compute", std::string("f32")}, {"trans_a", std::vector{false}}, {"trans_b", std::vector{true}},
                     {"alpha", std::vector{1.0}}, {"bias", false}, {"residual", false}, {"accumulate", std::string("never")}},
                    {zeros(F32, {2, 3}), zeros(F32, {4, 5})},
                    {zeros(F32, {2, 4})}};
    CHECK_THROWS(call.run("portable", 1), "b of product 0 has shape [4, 5], expected [4, 3]");
    call.attrs["compute"] = std::string("f16");
    call.in[1] = zeros(F32, {4, 3});
    CHECK_THROWS(call.run("portable", 1), "it must be 'f32' or 'bf16'");
}
