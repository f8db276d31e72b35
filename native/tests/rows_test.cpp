// Ops over the rows of a packed buffer: embedding, rmsnorm, rope and reduce_rows, with their gradients.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

namespace {

const DType floats[] = {DType::f32, DType::bf16};
const std::vector<std::pair<int64_t, int64_t>> sizes = {{1, 1}, {3, 7}, {17, 64}, {33, 101}, {130, 83}, {1100, 19}, {300, 131}};

std::vector<double> doubles(int64_t n) { return std::vector<double>(static_cast<size_t>(n)); }

void check_all(const std::vector<double>& result, const std::vector<double>& expected, DType dtype, double absolute) {
    CHECK_EQ(result.size(), expected.size());
    for (size_t i = 0; i < expected.size(); i++)
        CHECK_CLOSE(result[i], expected[i], 1.01 * rounding(dtype) * std::fabs(expected[i]) + absolute);
}

Values some_ids(int64_t T, int64_t V) {
    std::vector<int64_t> ids;
    for (int64_t t = 0; t < T; t++) ids.push_back(t % 3 == 0 ? V / 2 : whole(0, V - 1)); // one token is frequent
    return integers(ids);
}

} // namespace

TEST(embedding_copies_rows) {
    for (DType table : floats)
        for (DType y : floats)
            for (auto [T, D] : sizes) {
                const Values w = normal(table, {37, D}), ids = some_ids(T, 37);
                Invocation{"embedding", {}, {w, ids}, {zeros(y, {T, D})}}.on_each_isa([&, T = T, D = D](const auto& results) {
                    for (int64_t i = 0; i < T * D; i++) {
                        const double x = w[static_cast<int64_t>(ids[i / D]) * D + i % D];
                        CHECK_EQ(results[0][static_cast<size_t>(i)], y == DType::bf16 ? round_to_bf16(static_cast<float>(x)) : x);
                    }
                });
            }
}

TEST(embedding_grad_sums_the_positions_of_each_token) {
    for (const char* mode : {"never", "always", "after_first"})
        for (bool first : {false, true})
            for (DType dtype : floats)
                for (auto [T, D] : sizes) {
                    const Values dy = normal(dtype, {T, D}), ids = some_ids(T, 37), before = normal(DType::f32, {37, D});
                    const bool adds = std::string(mode) == "always" || (std::string(mode) == "after_first" && !first);
                    std::vector<double> expected = adds ? before.data : doubles(37 * D);
                    for (int64_t i = 0; i < T * D; i++) expected[static_cast<size_t>(ids[i / D]) * D + i % D] += dy[i];
                    Invocation{"embedding_grad", {{"accumulate", std::string(mode)}}, {dy, ids}, {before}, first}.on_each_isa(
                        [&, T = T](const auto& results) { check_all(results[0], expected, DType::f32, 1e-7 * double(T)); });
                }
}

TEST(embedding_names_an_id_outside_the_vocabulary) {
    for (double bad : {-1.0, 5.0}) {
        Values ids = integers({0, 4, 2});
        ids.data[1] = bad;
        const std::string message = "[1] is " + std::to_string(static_cast<int>(bad)) + "; it must lie in [0, 5)";
        CHECK_THROWS((Invocation{"embedding", {}, {zeros(DType::f32, {5, 2}), ids}, {zeros(DType::f32, {3, 2})}}.run("portable", 2)), message);
        CHECK_THROWS((Invocation{"embedding_grad", {{"accumulate", std::string("never")}}, {zeros(DType::f32, {3, 2}), ids}, {zeros(DType::f32, {5, 2})}}.run("portable", 2)), message);
    }
}

TEST(an_operand_of_another_dtype_is_named_with_both) {
    const Values ids = zeros(DType::f32, {3});
    CHECK_THROWS((Invocation{"embedding", {}, {zeros(DType::f32, {5, 2}), ids}, {zeros(DType::f32, {3, 2})}}.run("portable", 2)),
                 "embedding: ids must be i32, not f32");
}

TEST(rmsnorm_divides_by_the_root_mean_square) {
    const double eps = 1e-5;
    for (DType from : floats)
        for (DType to : floats)
            for (auto [T, D] : sizes) {
                const Values x = normal(from, {T, D}, 2), w = normal(to, {D});
                std::vector<double> y = doubles(T * D), rstd = doubles(T);
                for (int64_t t = 0; t < T; t++) {
                    double squares = 0;
                    for (int64_t i = 0; i < D; i++) squares += x[t * D + i] * x[t * D + i];
                    rstd[t] = 1 / std::sqrt(squares / double(D) + eps);
                    for (int64_t i = 0; i < D; i++) y[t * D + i] = x[t * D + i] * rstd[t] * w[i];
                }
                Invocation{"rmsnorm", {{"eps", eps}}, {x, w}, {zeros(to, {T, D}), zeros(DType::f32, {T})}}.on_each_isa(
                    [&](const auto& results) {
                        check_all(results[0], y, to, 3e-6);
                        for (size_t t = 0; t < rstd.size(); t++) CHECK_CLOSE(results[1][t], rstd[t], 4e-7 * rstd[t]);
                    });
            }
}

TEST(rmsnorm_grad_agrees_with_the_formula) {
    for (bool residual : {false, true})
        for (bool dw : {false, true})
            for (DType dtype : floats)
                for (auto [T, D] : sizes) {
                    const Values dy = normal(dtype, {T, D}), x = normal(DType::f32, {T, D}), w = normal(dtype, {D});
                    const Values before = normal(DType::f32, {D}), skip = normal(dtype, {T, D});
                    std::vector<double> rstd = doubles(T), dx = doubles(T * D), sums = before.data;
                    for (int64_t t = 0; t < T; t++) {
                        double squares = 0, dot = 0;
                        for (int64_t i = 0; i < D; i++) squares += x[t * D + i] * x[t * D + i];
                        for (int64_t i = 0; i < D; i++) dot += dy[t * D + i] * w[i] * x[t * D + i];
                        const double r = static_cast<float>(1 / std::sqrt(squares / double(D) + 1e-5));
                        rstd[t] = r;
                        for (int64_t i = 0; i < D; i++) {
                            dx[t * D + i] = r * (dy[t * D + i] * w[i] - x[t * D + i] * r * r * dot / double(D));
                            if (residual) dx[t * D + i] += skip[t * D + i];
                            sums[i] += dy[t * D + i] * x[t * D + i] * r;
                        }
                    }
                    Invocation invocation{"rmsnorm_grad",
                                          {{"residual", residual}, {"dw", dw}, {"accumulate", std::string("always")}},
                                          {dy, x, w, values(DType::f32, {T}, rstd)},
                                          {zeros(dtype, {T, D})}};
                    if (residual) invocation.in.push_back(skip);
                    if (dw) invocation.out.push_back(before);
                    if (residual && skip.dtype == dtype) invocation.in_place = {{0, 4}};
                    double largest = 1;
                    for (double r : rstd) largest = std::max(largest, r);
                    invocation.on_each_isa([&, T = T](const auto& results) {
                        check_all(results[0], dx, dtype, 1e-5 * largest);
                        if (dw) check_all(results[1], sums, DType::f32, 1e-6 * std::sqrt(double(T)) + 2e-6);
                    });
                }
}

TEST(rmsnorm_grad_agrees_with_finite_differences) {
    const int64_t T = 4, D = 9;
    const Values dy = normal(DType::f32, {T, D}), x = normal(DType::f32, {T, D}), w = normal(DType::f32, {D});
    auto loss = [&](const std::vector<double>& at) { // Σ dy · rmsnorm(at)
        double total = 0;
        for (int64_t t = 0; t < T; t++) {
            double squares = 0;
            for (int64_t i = 0; i < D; i++) squares += at[t * D + i] * at[t * D + i];
            for (int64_t i = 0; i < D; i++) total += dy[t * D + i] * at[t * D + i] / std::sqrt(squares / D + 1e-5) * w[i];
        }
        return total;
    };
    const auto forward = Invocation{"rmsnorm", {{"eps", 1e-5}}, {x, w}, {zeros(DType::f32, {T, D}), zeros(DType::f32, {T})}}.run("portable", 1);
    Invocation{"rmsnorm_grad", {{"residual", false}, {"dw", false}, {"accumulate", std::string("never")}}, {dy, x, w, values(DType::f32, {T}, forward[1])}, {zeros(DType::f32, {T, D})}}
        .on_each_isa([&](const auto& results) {
            for (size_t i = 0; i < x.data.size(); i++) {
                std::vector<double> up = x.data, down = x.data;
                up[i] += 1e-5, down[i] -= 1e-5;
                CHECK_CLOSE(results[0][i], (loss(up) - loss(down)) / 2e-5, 2e-5);
            }
        });
}

TEST(rope_turns_pairs_of_elements) {
    for (bool inverse : {false, true})
        for (DType dtype : floats)
            for (int64_t K : {2, 6, 32, 64, 74}) {
                const int64_t T = K == 64 ? 190 : 23, heads = 3, P = 50; // 190: enough for more than one thread
                std::vector<double> angles = doubles(P * K);
                for (int64_t p = 0; p < P; p++)
                    for (int64_t j = 0; j < K / 2; j++) {
                        const double angle = double(p) * std::pow(10000.0, -2.0 * double(j) / double(K));
                        angles[p * K + j] = std::cos(angle);
                        angles[p * K + K / 2 + j] = std::sin(angle);
                    }
                const Values x = normal(dtype, {T, heads * K}), table = values(DType::f32, {P, K}, angles);
                const Values positions = some_ids(T, P);
                std::vector<double> y = doubles(T * heads * K);
                for (int64_t i = 0; i < T * heads * K; i++) {
                    const int64_t j = i % K, row = static_cast<int64_t>(positions[i / (heads * K)]) * K;
                    const double c = table[row + j % (K / 2)], s = table[row + K / 2 + j % (K / 2)] * (inverse ? -1 : 1);
                    y[i] = j < K / 2 ? x[i] * c - x[i + K / 2] * s : x[i] * c + x[i - K / 2] * s;
                }
                Invocation{"rope",
                           {{"head_dim", double(K)}, {"inverse", inverse}},
                           {x, table, positions},
                           {zeros(dtype, {T, heads * K})}}
                    .on_each_isa([&](const auto& results) { check_all(results[0], y, dtype, 6e-7); });
            }
}

TEST(rope_names_a_position_outside_the_table) {
    CHECK_THROWS((Invocation{"rope",
                             {{"head_dim", 2.0}, {"inverse", false}},
                             {zeros(DType::f32, {2, 2}), zeros(DType::f32, {4, 2}), integers({0, 4})},
                             {zeros(DType::f32, {2, 2})}}
                      .run("portable", 1)),
                 "[1] is 4; it must lie in [0, 4)");
}

TEST(rope_takes_whole_heads) {
    const Values x = zeros(DType::f32, {2, 6});
    CHECK_THROWS((Invocation{"rope", {{"head_dim", 4.0}, {"inverse", false}}, {x, zeros(DType::f32, {4, 4}), integers({0, 1})}, {x}}
                      .run("portable", 1)),
                 "rope: x has 6 columns, which are no whole heads of 4");
}

TEST(reduce_rows_sums_columns) {
    for (const char* mode : {"never", "always"})
        for (DType dtype : floats)
            for (auto [T, N] : sizes) {
                const Values x = normal(dtype, {T, N}), before = normal(DType::f32, {N});
                std::vector<double> expected = std::string(mode) == "always" ? before.data : doubles(N);
                for (int64_t i = 0; i < T * N; i++) expected[i % N] += x[i];
                Invocation{"reduce_rows", {{"accumulate", std::string(mode)}}, {x}, {before}}.on_each_isa(
                    [&, T = T](const auto& results) { check_all(results[0], expected, DType::f32, 1e-6 * std::sqrt(double(T))); });
            }
}
