// attention and attention_grad against a plain double-precision reference over the spans of packed documents.
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;

namespace {

struct Problem {
    int64_t T, H, G, K;
    double scale;
    std::vector<int64_t> bounds; // of documents, from 0 to T
    std::vector<int64_t> first, last; // key that each token sees
    Values q, k, v, dout;

    std::map<std::string, Attr> attrs() const {
        return {{"compute", std::string(q.dtype == DType::bf16 ? "bf16" : "f32")}, {"head_dim", double(K)}, {"scale", scale}};
    }
    Values spans() const {
        std::vector<int64_t> pairs;
        for (size_t t = 0; t < first.size(); t++) pairs.insert(pairs.end(), {first[t], last[t]});
        return integers(pairs, {T, 2});
    }
    // Each token's keys from what `choose` says of it and its document [begin, end).
    template <class Choose> Problem& see(const Choose& choose) {
        first.clear(), last.clear();
        for (size_t s = 0; s + 1 < bounds.size(); s++)
            for (int64_t t = bounds[s]; t < bounds[s + 1]; t++) {
                const auto [from, to] = choose(t, bounds[s], bounds[s + 1]);
                first.push_back(from), last.push_back(to);
            }
        return *this;
    }
    Problem& see_all() {
        return see([](int64_t, int64_t begin, int64_t end) { return std::pair(begin, end - 1); });
    }
    Problem& see_window(int64_t size) {
        return see([=](int64_t t, int64_t begin, int64_t) { return std::pair(std::max(begin, t - size + 1), t); });
    }
};

Problem problem(DType dtype, std::vector<int64_t> lengths, int64_t H, int64_t G, int64_t K) {
    Problem p{0, H, G, K, 1 / std::sqrt(double(K)), {0}, {}, {}, {}, {}, {}, {}};
    for (int64_t length : lengths) p.bounds.push_back(p.T += length);
    p.q = normal(dtype, {p.T, H * K}, 1.5);
    p.k = normal(dtype, {p.T, G * K}, 1.5);
    p.v = normal(dtype, {p.T, G * K});
    p.dout = normal(dtype, {p.T, H * K});
    p.see([](int64_t t, int64_t begin, int64_t) { return std::pair(begin, t); });
    return p;
}

struct Reference {
    std::vector<double> o, lse, dq, dk, dv;
};

Reference reference(const Problem& p) {
    const int64_t T = p.T, H = p.H, G = p.G, K = p.K;
    auto size = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n)); };
    Reference r{size(T * H * K), size(H * T), size(T * H * K), size(T * G * K), size(T * G * K)};
    for (int64_t h = 0; h < H; h++)
        for (int64_t i = 0; i < T; i++) {
            const int64_t begin = p.first[static_cast<size_t>(i)], n = p.last[static_cast<size_t>(i)] - begin + 1;
            const int64_t qi = (i * H + h) * K;
            auto kj = [&](int64_t j) { return ((begin + j) * G + h / (H / G)) * K; };
            std::vector<double> w = size(n), dw = size(n);
            double largest = -INFINITY, sum = 0, delta = 0;
            for (int64_t j = 0; j < n; j++) {
                for (int64_t x = 0; x < K; x++) {
                    w[j] += p.scale * p.q[qi + x] * p.k[kj(j) + x];
                    dw[j] += p.dout[qi + x] * p.v[kj(j) + x];
                }
                largest = std::max(largest, w[j]);
            }
            for (double& x : w) sum += x = std::exp(x - largest);
            r.lse[h * T + i] = largest + std::log(sum);
            for (int64_t j = 0; j < n; j++) delta += (w[j] /= sum) * dw[j];
            for (int64_t j = 0; j < n; j++)
                for (int64_t x = 0; x < K; x++) {
                    const double ds = p.scale * w[j] * (dw[j] - delta);
                    r.o[qi + x] += w[j] * p.v[kj(j) + x];
                    r.dq[qi + x] += ds * p.k[kj(j) + x];
                    r.dk[kj(j) + x] += ds * p.q[qi + x];
                    r.dv[kj(j) + x] += w[j] * p.dout[qi + x];
                }
        }
    return r;
}

// Forward, and the gradient from the reference's o and lse, in all kernel sets. Products in bf16 round the weights and
// dS to 2⁻⁹ each, as any bf16 attention does; the rest is the rounding of the outputs.
void check_problem(const Problem& p) {
    const DType dtype = p.q.dtype;
    const double tolerance = dtype == DType::bf16 ? 5e-3 : 2e-6;
    const Reference r = reference(p);
    Invocation forward{"attention",
                       p.attrs(),
                       {p.q, p.k, p.v, p.spans()},
                       {zeros(dtype, p.q.shape), zeros(DType::f32, {p.H, p.T})}};
    forward.on_each_isa([&](const auto& results) {
        CHECK_CLOSE(relative_error(results[0], r.o), 0, tolerance);
        for (size_t i = 0; i < r.lse.size(); i++) CHECK_CLOSE(results[1][i], r.lse[i], 5e-6 + 1e-6 * std::fabs(r.lse[i]));
    });
    Invocation backward{
        "attention_grad",
        p.attrs(),
        {p.dout, p.q, p.k, p.v, values(dtype, p.q.shape, r.o), values(DType::f32, {p.H, p.T}, r.lse), p.spans()},
        {zeros(dtype, p.q.shape), zeros(dtype, p.k.shape), zeros(dtype, p.v.shape)}};
    backward.on_each_isa([&](const auto& results) {
        // A document of one token has no dq and dk: there δ cancels do·v only up to rounding.
        auto close = [&](const std::vector<double>& a, const std::vector<double>& b) {
            double size = 0;
            for (double x : b) size += x * x;
            if (size > 1e-6)
                CHECK_CLOSE(relative_error(a, b), 0, 2 * tolerance);
            else
                for (size_t i = 0; i < a.size(); i++) CHECK_CLOSE(a[i], b[i], 20 * tolerance);
        };
        close(results[0], r.dq);
        close(results[1], r.dk);
        close(results[2], r.dv);
    });
}

} // namespace

TEST(attention_of_one_document_of_each_type) {
    for (DType dtype : {DType::f32, DType::bf16}) check_problem(problem(dtype, {77}, 3, 1, 64));
}

TEST(attention_over_ragged_documents_down_to_one_token) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        check_problem(problem(dtype, {1}, 2, 2, 64));
        check_problem(problem(dtype, {1, 1, 5, 64, 1, 63, 130, 2}, 4, 2, 64));
        check_problem(problem(dtype, {127, 3, 70}, 3, 3, 32));
    }
}

TEST(attention_with_any_head_size) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (int64_t K : {1, 7, 16, 48, 80, 128, 131, 256}) check_problem(problem(dtype, {29, 40, 1}, 2, 1, K));
}

TEST(attention_over_more_keys_than_a_strip) {
    for (DType dtype : {DType::f32, DType::bf16}) check_problem(problem(dtype, {13, 540, 21}, 2, 1, 16));
}

TEST(attention_within_a_sliding_window) {
    for (int64_t window : {1, 2, 24, 63, 64, 65, 128, 500}) {
        check_problem(problem(DType::f32, {1, 70, 130, 600}, 2, 1, 16).see_window(window));
        check_problem(problem(DType::bf16, {1, 70, 130, 200}, 4, 2, 64).see_window(window));
    }
}

TEST(attention_over_whole_documents) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        check_problem(problem(dtype, {77}, 3, 1, 64).see_all());
        check_problem(problem(dtype, {1, 63, 64, 65, 130, 2}, 4, 2, 32).see_all());
        check_problem(problem(dtype, {9, 700}, 2, 1, 16).see_all());
    }
}

// As an image's tokens within a text, or a prompt before an answer.
TEST(attention_that_sees_the_whole_of_a_block_and_the_past_beside_it) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (int64_t block : {2, 40, 64, 100})
            check_problem(problem(dtype, {3, 300}, 4, 2, 32).see([=](int64_t t, int64_t begin, int64_t end) {
                const int64_t place = t - begin;
                const bool in_block = place >= 10 && place < 10 + block;
                return std::pair(begin, in_block ? std::min(end, begin + 10 + block) - 1 : t);
            }));
}

TEST(attention_shares_key_value_heads) {
    check_problem(problem(DType::f32, {50, 90}, 9, 3, 16));
    check_problem(problem(DType::bf16, {50, 90}, 8, 1, 64));
}

TEST(attention_survives_scores_of_any_size) {
    Problem p = problem(DType::f32, {5, 600, 9}, 1, 1, 16);
    p.q = normal(DType::f32, p.q.shape, 30);
    const Reference r = reference(p);
    Invocation forward{"attention", p.attrs(), {p.q, p.k, p.v, p.spans()}, {zeros(DType::f32, p.q.shape), zeros(DType::f32, {1, p.T})}};
    forward.on_each_isa([&](const auto& results) { CHECK_CLOSE(relative_error(results[0], r.o), 0, 1e-4); });
}

TEST(attention_names_a_bad_span) {
    const Problem p = problem(DType::f32, {3}, 1, 1, 16);
    Invocation forward{"attention", p.attrs(), {p.q, p.k, p.v, p.spans()}, {zeros(DType::f32, p.q.shape), zeros(DType::f32, {1, p.T})}};
    auto with = [&](std::vector<int64_t> spans) {
        forward.in[3] = integers(std::move(spans), {3, 2});
        forward.run("portable", 1);
    };
    CHECK_THROWS(with({0, 0, 0, 3, 0, 3}), "[3] is 3; (the last key of token 1) it must lie in [0, 3)");
    CHECK_THROWS(with({-1, 0, 0, 1, 0, 2}), "[0] is -1; (the first key of token 0) it must lie in [0, 3)");
    CHECK_THROWS(with({0, 0, 1, 1, 0, 2}), "[4] is 0; (the first key of token 2) it must be at least that of the token before, 1");
    CHECK_THROWS(with({0, 2, 0, 1, 0, 2}), "[3] is 1; (the last key of token 1) it must be at least that of the token before, 2");
    CHECK_THROWS(with({1, 0, 1, 1, 1, 2}), "[1] is 0; (the last key of token 0) it must be at least the first key, 1");
}

TEST(heads_are_whole_and_those_of_q_a_multiple_of_those_of_k_and_v) {
    const auto attend = [](int64_t q_columns, int64_t k_columns) {
        const Values q = zeros(DType::f32, {2, q_columns}), k = zeros(DType::f32, {2, k_columns});
        return Invocation{"attention", {{"compute", std::string("f32")}, {"head_dim", 4.0}, {"scale", 1.0}},
                          {q, k, k, integers({0, 0, 0, 1}, {2, 2})}, {q, zeros(DType::f32, {q_columns / 4, 2})}}
            .run("portable", 1);
    };
    attend(8, 4);
    CHECK_THROWS(attend(10, 4), "attention: q has 10 columns, which are no whole heads of 4");
    CHECK_THROWS(attend(8, 6), "attention: k has 6 columns, which are no whole heads of 4");
    CHECK_THROWS(attend(12, 8), "attention: the heads of q must be a multiple of those of k and v");
}
