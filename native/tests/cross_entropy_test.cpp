// cross_entropy, linear_cross_entropy and linear_logprobs with its gradient against softmax in double precision.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

namespace {

constexpr DType F32 = DType::f32, BF16 = DType::bf16, F16 = DType::f16;
constexpr float WEIGHT = 0.125f;

DType any_float() { return whole(0, 1) ? F32 : BF16; }

// Labels with about a third of −100.
std::vector<int64_t> some_labels(int64_t T, int64_t V) {
    std::vector<int64_t> labels;
    for (int64_t t = 0; t < T; t++) labels.push_back(whole(0, 2) ? whole(0, V - 1) : -100);
    return labels;
}

struct Expected {
    double loss = 0;
    std::vector<double> logprobs, dlogits;
};
Expected softmax(const std::vector<double>& logits, const std::vector<int64_t>& labels) {
    const size_t T = labels.size(), V = logits.size() / T;
    Expected expected{0, std::vector<double>(T), std::vector<double>(logits.size())};
    for (size_t t = 0; t < T; t++) {
        if (labels[t] < 0) continue;
        const double* row = &logits[t * V];
        double sum = 0;
        for (size_t j = 0; j < V; j++) sum += std::exp(row[j]);
        const size_t label = static_cast<size_t>(labels[t]);
        expected.logprobs[t] = row[label] - std::log(sum);
        expected.loss -= WEIGHT * expected.logprobs[t];
        for (size_t j = 0; j < V; j++) expected.dlogits[t * V + j] = WEIGHT * (std::exp(row[j]) / sum - (j == label));
    }
    return expected;
}

double factor(const std::string& compute, double x) {
    return compute == "bf16" ? round_to_bf16(static_cast<float>(x)) : x;
}

// (m, k) · (k, n), the factors rounded to the compute type; a and b are read at [i, l] and [l, j].
template <class A, class B>
std::vector<double> product(const std::string& compute, int64_t m, int64_t n, int64_t k, A a, B b) {
    std::vector<double> y(static_cast<size_t>(m * n));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < k; l++)
                y[static_cast<size_t>(i * n + j)] += factor(compute, a(i, l)) * factor(compute, b(l, j));
    return y;
}

// Logits of standard size keep a relative 1e-6 in float32; a bf16 output or factor rounds to 2⁻⁹, and where dlogits
// lies on a tie of that rounding the reference may take the other side.
void near(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
    CHECK(relative_error(actual, expected) <= tolerance);
}

struct Linear {
    std::string compute;
    Values x, w;
    std::vector<int64_t> labels;

    Linear(int64_t T, int64_t D, int64_t V, const std::string& compute, DType x_dtype, DType w_dtype)
        : compute(compute), x(normal(x_dtype, {T, D})), w(normal(w_dtype, {V, D}, 1 / std::sqrt(double(D)))),
          labels(some_labels(T, V)) {}

    std::vector<double> logits() const {
        const int64_t T = x.shape[0], D = x.shape[1], V = w.shape[0];
        return product(compute, T, V, D, [&](int64_t t, int64_t d) { return x[t * D + d]; },
                       [&](int64_t d, int64_t v) { return w[v * D + d]; });
    }

    // From the gradient of the logits.
    std::vector<double> dx(const std::vector<double>& dlogits) const {
        const int64_t T = x.shape[0], D = x.shape[1], V = w.shape[0];
        return product(compute, T, D, V, [&](int64_t t, int64_t v) { return dlogits[static_cast<size_t>(t * V + v)]; },
                       [&](int64_t v, int64_t d) { return w[v * D + d]; });
    }
    std::vector<double> dw(const std::vector<double>& dlogits) const {
        const int64_t T = x.shape[0], D = x.shape[1], V = w.shape[0];
        return product(compute, V, D, T, [&](int64_t v, int64_t t) { return dlogits[static_cast<size_t>(t * V + v)]; },
                       [&](int64_t t, int64_t d) { return x[t * D + d]; });
    }
    double tolerance() const { return compute == "bf16" ? 5e-4 : 2e-6; }
};

void compare_linear_cross_entropy(const Linear& test, int64_t chunk_rows, bool dx, bool dw, DType dx_dtype,
                                  bool accumulate) {
    const int64_t T = test.x.shape[0], D = test.x.shape[1], V = test.w.shape[0];
    const Expected expected = softmax(test.logits(), test.labels);
    Invocation call{"linear_cross_entropy",
                    {{"compute", test.compute},
                     {"dx", dx},
                     {"dw", dw},
                     {"chunk_rows", double(chunk_rows)},
                     {"accumulate", std::string(accumulate ? "always" : "never")}},
                    {test.x, test.w, integers(test.labels), values(F32, {1}, {WEIGHT})},
                    {values(F32, {1}, {3})}};
    if (dx) call.out.push_back(zeros(dx_dtype, {T, D}));
    const Values dw_before = normal(F32, {V, D}, 0.1);
    if (dw) call.out.push_back(dw_before);
    const auto dx_expected = test.dx(expected.dlogits);
    auto dw_expected = test.dw(expected.dlogits);
    if (accumulate)
        for (size_t i = 0; i < dw_expected.size(); i++) dw_expected[i] += dw_before.data[i];
    const double tolerance = test.tolerance();
    call.on_each_isa([&](const auto& results) {
        const double loss = expected.loss + (accumulate ? 3 : 0);
        CHECK_CLOSE(results[0][0], loss, 1e-6 * std::max(1.0, std::fabs(loss)));
        if (dx) near(results[1], dx_expected, tolerance + (dx_dtype == BF16 ? 4e-3 : 0));
        if (dw) near(results.back(), dw_expected, tolerance);
    });
}

void compare_linear_logprobs_grad(const Linear& test, int64_t chunk_rows, bool dx, bool dw, DType dx_dtype, bool accumulate) {
    const int64_t T = test.x.shape[0], D = test.x.shape[1], V = test.w.shape[0];
    const Values dlogprobs = normal(F32, {T});
    std::vector<double> dlogits = softmax(test.logits(), test.labels).dlogits;
    for (int64_t i = 0; i < T * V; i++) dlogits[static_cast<size_t>(i)] *= -dlogprobs[i / V] / WEIGHT;
    std::vector<int64_t> targets = test.labels;
    for (int64_t& target : targets)
        if (target < 0) target = -1;
    Invocation call{"linear_logprobs_grad",
                    {{"compute", test.compute},
                     {"dx", dx},
                     {"dw", dw},
                     {"chunk_rows", double(chunk_rows)},
                     {"accumulate", std::string(accumulate ? "always" : "never")}},
                    {test.x, test.w, integers(targets), dlogprobs},
                    {}};
    if (dx) call.out.push_back(zeros(dx_dtype, {T, D}));
    const Values dw_before = normal(F32, {V, D}, 0.1);
    if (dw) call.out.push_back(dw_before);
    const auto dx_expected = test.dx(dlogits);
    auto dw_expected = test.dw(dlogits);
    if (accumulate)
        for (size_t i = 0; i < dw_expected.size(); i++) dw_expected[i] += dw_before.data[i];
    call.on_each_isa([&](const auto& results) {
        if (dx) near(results[0], dx_expected, test.tolerance() + (dx_dtype == BF16 ? 4e-3 : 0));
        if (dw) near(results.back(), dw_expected, test.tolerance());
    });
}

} // namespace

TEST(cross_entropy_and_its_gradient_follow_the_formula) {
    for (int64_t V : {1, 2, 7, 16, 33, 1024, 1031, 3001})
        for (DType dtype : {F32, BF16}) {
            const int64_t T = whole(1, 9);
            const Values logits = normal(dtype, {T, V}, 3);
            const auto labels = some_labels(T, V);
            const Expected expected = softmax(logits.data, labels);
            const DType gradient_dtype = any_float();
            Invocation call{"cross_entropy",
                            {{"grad", true}, {"accumulate", std::string("always")}},
                            {logits, integers(labels), values(F32, {1}, {WEIGHT})},
                            {values(F32, {1}, {2}), zeros(gradient_dtype, {T, V})}};
            call.on_each_isa([&](const auto& results) {
                CHECK_CLOSE(results[0][0], 2 + expected.loss, 1e-6 * (2 + expected.loss));
                near(results[1], expected.dlogits, 1e-6 + 2 * (gradient_dtype == BF16 ? rounding(BF16) : 0));
            });
        }
}

TEST(cross_entropy_gradient_may_replace_the_logits) {
    const Values logits = normal(BF16, {5, 37});
    const auto labels = some_labels(5, 37);
    Invocation call{"cross_entropy",
                    {{"grad", true}, {"accumulate", std::string("never")}},
                    {logits, integers(labels), values(F32, {1}, {WEIGHT})},
                    {zeros(F32, {1}), zeros(BF16, {5, 37})}};
    call.in_place = {{1, 0}};
    call.on_each_isa([&](const auto& results) {
        near(results[1], softmax(logits.data, labels).dlogits, 2 * rounding(BF16));
    });
}

TEST(cross_entropy_of_huge_logits_is_finite) {
    Invocation call{"cross_entropy",
                    {{"grad", true}, {"accumulate", std::string("never")}},
                    {values(F32, {1, 3}, {1e30, -1e30, 1e30}), integers({1}), values(F32, {1}, {1})},
                    {zeros(F32, {1}), zeros(F32, {1, 3})}};
    call.on_each_isa([](const auto& results) {
        CHECK_CLOSE(results[0][0] / 2e30, 1, 1e-6);
        CHECK_EQ(results[1][0], 0.5);
        CHECK_EQ(results[1][1], -1);
    });
}

TEST(cross_entropy_names_a_label_outside_the_vocabulary) {
    Invocation call{"cross_entropy",
                    {{"grad", false}, {"accumulate", std::string("never")}},
                    {zeros(F32, {3, 7}), integers({-100, 6, 7}), values(F32, {1}, {1})},
                    {zeros(F32, {1})}};
    CHECK_THROWS(call.run("portable", 1), "[2] is 7; it must lie in [0, 7) or be -100");
    call.in[1] = integers({-1, 6, 0});
    CHECK_THROWS(call.run("portable", 1), "[0] is -1; it must lie in [0, 7) or be -100");
}

TEST(linear_cross_entropy_and_its_gradients_follow_the_formula) {
    for (int i = 0; i < 24; i++) {
        const Linear test(whole(1, 70), whole(1, 50), whole(1, 300), whole(0, 1) ? "f32" : "bf16", any_float(),
                          std::vector{F32, BF16, F16}[static_cast<size_t>(whole(0, 2))]);
        compare_linear_cross_entropy(test, whole(1, 80), whole(0, 1), whole(0, 1), any_float(), whole(0, 1));
    }
}

TEST(linear_cross_entropy_sums_a_large_vocabulary) {
    for (const char* compute : {"f32", "bf16"})
        compare_linear_cross_entropy(Linear(21, 19, 5003, compute, F32, BF16), 8, true, true, F32, true);
}

TEST(linear_cross_entropy_without_labels_is_zero) {
    Linear test(5, 6, 7, "bf16", BF16, F32);
    test.labels.assign(5, -100);
    for (bool accumulate : {false, true}) compare_linear_cross_entropy(test, 2, true, true, BF16, accumulate);
}

TEST(linear_logprobs_are_zero_for_negative_targets_and_right_for_others) {
    for (int i = 0; i < 12; i++) {
        Linear test(whole(1, 70), whole(1, 50), whole(1, 1300), whole(0, 1) ? "f32" : "bf16", any_float(), any_float());
        const auto expected = softmax(test.logits(), test.labels).logprobs;
        for (int64_t& label : test.labels)
            if (label < 0) label = -1;
        Invocation call{"linear_logprobs",
                        {{"compute", test.compute}, {"chunk_rows", double(whole(1, 80))}},
                        {test.x, test.w, integers(test.labels)},
                        {zeros(F32, {test.x.shape[0]})}};
        call.on_each_isa([&](const auto& results) {
            for (size_t t = 0; t < expected.size(); t++) CHECK_CLOSE(results[0][t], expected[t], 3e-6);
        });
    }
}

TEST(linear_logprobs_names_a_target_outside_the_vocabulary) {
    Invocation call{"linear_logprobs",
                    {{"compute", std::string("f32")}, {"chunk_rows", 4.0}},
                    {zeros(F32, {2, 3}), zeros(F32, {5, 3}), integers({4, 5})},
                    {zeros(F32, {2})}};
    CHECK_THROWS(call.run("portable", 1), "[1] is 5; it must be below 5");
}

TEST(linear_logprobs_grad_follows_the_formula) {
    for (int i = 0; i < 24; i++) {
        const Linear test(whole(1, 70), whole(1, 50), whole(1, 300), whole(0, 1) ? "f32" : "bf16", any_float(),
                          std::vector{F32, BF16, F16}[static_cast<size_t>(whole(0, 2))]);
        const bool dx = whole(0, 1);
        compare_linear_logprobs_grad(test, whole(1, 80), dx, !dx || whole(0, 1), any_float(), whole(0, 1));
    }
}

TEST(linear_logprobs_grad_sums_a_large_vocabulary) {
    for (const char* compute : {"f32", "bf16"})
        compare_linear_logprobs_grad(Linear(21, 19, 5003, compute, F32, BF16), 8, true, true, F32, true);
}

TEST(linear_logprobs_grad_without_targets_is_zero) {
    Linear test(5, 6, 7, "bf16", BF16, F32);
    test.labels.assign(5, -100);
    for (bool accumulate : {false, true}) compare_linear_logprobs_grad(test, 2, true, true, BF16, accumulate);
}
