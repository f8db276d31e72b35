// global_norm, adamw and sgd against torch's formulas in double precision, over several steps.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

TEST(global_norm_of_tensors_of_all_sizes) {
    std::vector<Values> gradients;
    for (int64_t n : {1, 3, 1000, 16384, 16385, 50001}) gradients.push_back(normal(DType::f32, {n}, 0.1));
    std::vector<double> norms;
    double total = 0;
    for (const Values& g : gradients) {
        double sum = 0;
        for (double x : g.data) sum += x * x;
        norms.push_back(std::sqrt(sum));
        total += sum;
    }
    Invocation{"global_norm", {}, gradients, {zeros(DType::f32, {1}), zeros(DType::f32, {6})}}.on_each_isa([&](const auto& results) {
        CHECK_CLOSE(results[0][0], std::sqrt(total), 1e-7 * std::sqrt(total));
        for (size_t i = 0; i < norms.size(); i++) CHECK_CLOSE(results[1][i], norms[i], 1e-7 * norms[i]);
    });
}

TEST(global_norm_neither_overflows_nor_hides_a_nan) {
    Values g = values(DType::f32, {4}, {3e38, 0, 0, 0});
    Invocation invocation{"global_norm", {}, {g, zeros(DType::f32, {5})}, {zeros(DType::f32, {1}), zeros(DType::f32, {2})}};
    invocation.on_each_isa([](const auto& results) { CHECK_CLOSE(results[0][0], 3e38, 1e32); });
    invocation.in[0].data[2] = NAN;
    invocation.on_each_isa([](const auto& results) {
        CHECK(std::isnan(results[0][0]) && std::isnan(results[1][0]));
        CHECK_EQ(results[1][1], 0.0);
    });
}

namespace {

constexpr double lr = 0.01, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

Values one(double x) { return values(DType::f32, {1}, {x}); }

Values adamw_scalars(int step) {
    return values(DType::f32, {6}, {lr, beta1, beta2, eps, 1 - std::pow(beta1, step), 1 - std::pow(beta2, step)});
}

} // namespace

TEST(adamw_follows_torch_for_five_steps) {
    const int64_t n = 20011;
    for (double decay : {0.0, 0.1})
        for (double max_norm : {0.0, 1.0})
            for (const std::string& isa : available_isas()) {
                Values p = normal(DType::f32, {n}), m = zeros(DType::f32, {n}), v = zeros(DType::f32, {n});
                std::vector<double> rp = p.data, rm = m.data, rv = v.data;
                for (int step = 1; step <= 5; step++) {
                    const Values g = normal(DType::f32, {n}, 0.1), norm = values(DType::f32, {1}, {14.2});
                    const double clip = max_norm == 0 ? 1 : std::min(1.0, max_norm / (norm[0] + 1e-6));
                    const double bias1 = 1 - std::pow(beta1, step), bias2 = 1 - std::pow(beta2, step);
                    for (int64_t i = 0; i < n; i++) {
                        rm[i] = beta1 * rm[i] + (1 - beta1) * g[i] * clip;
                        rv[i] = beta2 * rv[i] + (1 - beta2) * g[i] * clip * g[i] * clip;
                        rp[i] -= lr * decay * rp[i];
                        rp[i] -= lr * (rm[i] / bias1) / (std::sqrt(rv[i] / bias2) + eps);
                    }
                    const auto results = Invocation{"adamw",
                                                    {{"weight_decay", decay}},
                                                    {p, g, norm, one(max_norm), adamw_scalars(step)},
                                                    {p, m, v},
                                                    false,
                                                    {{0, 0}}}
                                             .run(isa, 2);
                    p.data = results[0], m.data = results[1], v.data = results[2];
                }
                for (int64_t i = 0; i < n; i++) {
                    CHECK_CLOSE(p[i], rp[i], 1e-6 * (std::fabs(rp[i]) + 1));
                    CHECK_CLOSE(m[i], rm[i], 1e-6 * std::fabs(rm[i]) + 1e-8);
                    CHECK_CLOSE(v[i], rv[i], 1e-4 * rv[i]); // 1 − β₂ is 0.999's rounding away from its float
                }
            }
}

TEST(adamw_gives_the_same_bits_on_any_number_of_threads) {
    const Values p = normal(DType::f32, {20011}), g = normal(DType::f32, {20011});
    Invocation{"adamw",
               {{"weight_decay", 0.1}},
               {p, g, one(3), one(1), adamw_scalars(1)},
               {p, zeros(DType::f32, {20011}), zeros(DType::f32, {20011})},
               false,
               {{0, 0}}}
        .on_each_isa([](const auto&) {});
}

TEST(sgd_follows_torch_with_and_without_momentum) {
    const int64_t n = 101;
    for (bool has_momentum : {false, true})
        for (double max_norm : {0.0, 1.0}) {
            Values p = normal(DType::f32, {n}), b = normal(DType::f32, {n}); // the first step must not read b
            std::vector<double> rp = p.data, rb(n);
            for (int step = 1; step <= 3; step++) {
                const Values g = normal(DType::f32, {n}), norm = values(DType::f32, {1}, {9.0});
                const double clip = max_norm == 0 ? 1 : max_norm / (norm[0] + 1e-6);
                for (int64_t i = 0; i < n; i++) {
                    const double d = g[i] * clip + 0.1 * rp[i];
                    rb[i] = step == 1 || !has_momentum ? d : 0.9 * rb[i] + d;
                    rp[i] -= 0.05 * rb[i];
                }
                Invocation invocation{"sgd",
                                      {{"weight_decay", 0.1}, {"momentum", has_momentum}},
                                      {p, g, norm, one(max_norm), values(DType::f32, {3}, {0.05, 0.9, step == 1 ? 1.0 : 0.0})},
                                      {p},
                                      false,
                                      {{0, 0}}};
                if (has_momentum) invocation.out.push_back(b);
                invocation.on_each_isa([&](const auto& results) {
                    for (int64_t i = 0; i < n; i++) CHECK_CLOSE(results[0][static_cast<size_t>(i)], rp[i], 1e-6 * (std::fabs(rp[i]) + 1));
                });
                const auto results = invocation.run("portable", 1);
                p.data = results[0];
                if (has_momentum) b.data = results[1];
            }
        }
}

// A norm that is not finite says that some gradient is not: nothing of it may reach weights or moments.
TEST(a_norm_that_is_not_finite_changes_nothing) {
    const int64_t n = 101;
    const Values p = normal(DType::f32, {n}), m = normal(DType::f32, {n}), v = values(DType::f32, {n}, std::vector<double>(n, 2.0));
    Values g = normal(DType::f32, {n});
    g.data[7] = NAN;
    for (double norm : {double(NAN), double(INFINITY)})
        for (double max_norm : {0.0, 1.0}) {
            Invocation{"adamw", {{"weight_decay", 0.1}}, {p, g, one(norm), one(max_norm), adamw_scalars(3)}, {p, m, v}, false, {{0, 0}}}
                .on_each_isa([&](const auto& results) { CHECK(results[0] == p.data && results[1] == m.data && results[2] == v.data); });
            Invocation{"sgd",
                       {{"weight_decay", 0.1}, {"momentum", true}},
                       {p, g, one(norm), one(max_norm), values(DType::f32, {3}, {0.05, 0.9, 0})},
                       {p, m},
                       false,
                       {{0, 0}}}
                .on_each_isa([&](const auto& results) { CHECK(results[0] == p.data && results[1] == m.data); });
        }
}
