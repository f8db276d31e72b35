// Philox against its published vectors, and what is made from it: dropout and initial values.
#include "../cpu/philox.hpp"
#include "kernel_call.hpp"

using namespace temper;
using namespace temper::check;
using temper::TEMPER_ISA::philox;

namespace {
using Words = std::array<uint32_t, 4>;
}

// kat_vectors of Random123 1.14 (D. E. Shaw Research): philox4x32, 10 rounds.
TEST(philox_gives_the_published_vectors) {
    CHECK(philox({0, 0, 0, 0}, {0, 0}) == (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(dropout_keeps_the_elements_whose_word_is_large) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (double probability : {0.0, 0.1, 0.5, 0.9, 1.0})
            for (int64_t N : {1, 5, 64, 67, 300, 1201}) {
                const int64_t T = 29;
                const Values x = normal(dtype, {T, N});
                std::vector<int64_t> packs, offsets;
                for (int64_t t = 0; t < T; t++) packs.push_back(whole(0, 5)), offsets.push_back(whole(0, 100000));
                const Values key = integers({-7, 123456789, 41, 0}); // the seed's low word has its top bit set
                Invocation{"dropout",
                           {{"probability", probability}, {"site", 77.0}},
                           {x, key, integers(packs), integers(offsets)},
                           {zeros(dtype, {T, N})}}
                    .on_each_isa([&](const auto& results) {
                        for (int64_t t = 0; t < T; t++)
                            for (int64_t n = 0; n < N; n++) {
                                const int64_t group = offsets[t] * ((N + 3) / 4) + n / 4;
                                const Words words = philox({static_cast<uint32_t>(group), 77, static_cast<uint32_t>(packs[t]), 41},
                                                           {static_cast<uint32_t>(-7), 123456789});
                                const bool kept = words[n % 4] >= probability * 0x1p32;
                                const double expected = kept ? x[t * N + n] / (1 - probability) : 0;
                                CHECK_CLOSE(results[0][static_cast<size_t>(t * N + n)], expected, std::fabs(expected) * (rounding(dtype) + 2e-7));
                            }
                    });
            }
}

TEST(dropout_of_a_row_depends_on_its_place_not_on_its_neighbours) {
    const Values x = values(DType::f32, {2, 50}, std::vector<double>(100, 1.0)), key = integers({1, 2, 3, 0});
    auto mask = [&](std::vector<int64_t> packs, std::vector<int64_t> offsets) {
        return Invocation{"dropout", {{"probability", 0.5}, {"site", 0.0}}, {x, key, integers(packs), integers(offsets)}, {zeros(DType::f32, {2, 50})}}.run("portable", 1)[0];
    };
    const auto a = mask({4, 9}, {10, 11}), b = mask({9, 4}, {11, 10});
    CHECK(std::equal(a.begin(), a.begin() + 50, b.begin() + 50) && std::equal(b.begin(), b.begin() + 50, a.begin() + 50));
    CHECK(!std::equal(a.begin(), a.begin() + 50, a.begin() + 50));
}

TEST(dropout_refuses_a_place_whose_counter_would_repeat) {
    const int64_t N = 4096; // 2^10 counters a row
    Invocation call{"dropout",
                    {{"probability", 0.5}, {"site", 0.0}},
                    {zeros(DType::f32, {1, N}), integers({1, 2, 3, 0}), integers({0}), integers({(int64_t{1} << 22) - 1})},
                    {zeros(DType::f32, {1, N})}};
    call.run("portable", 1);
    call.in[3] = integers({int64_t{1} << 22});
    CHECK_THROWS(call.run("portable", 1), "[0] is 4194304; it must lie in [0, 4194304)");

    Operands large{{{DType::f32, {int64_t{1} << 22, N + 1}, nullptr},
                {DType::i32, {4}, nullptr},
                {DType::i32, {int64_t{1} << 22}, nullptr},
                {DType::i32, {int64_t{1} << 22}, nullptr}},
               {{DType::f32, {int64_t{1} << 22, N + 1}, nullptr}},
               {"dropout", {{"probability", 0.5}, {"site", 0.0}}}};
    CHECK_THROWS(find_rules("dropout")->check(large), "would repeat");
}

TEST(random_normal_has_its_moments_and_the_same_values_in_every_set) {
    const int64_t n = 100003;
    const Invocation invocation{"random_normal", {{"seed", 42.0}, {"site", 3.0}, {"std", 0.02}}, {}, {zeros(DType::f32, {n})}};
    const auto first = invocation.run("portable", 1)[0];
    invocation.on_each_isa([&](const auto& results) {
        CHECK(results[0] == first);
        double sum = 0, squares = 0, fourth = 0;
        for (double x : results[0]) sum += x, squares += x * x, fourth += x * x * x * x;
        CHECK_CLOSE(sum / n, 0, 0.02 * 5 / std::sqrt(double(n)));
        CHECK_CLOSE(squares / n, 0.02 * 0.02, 0.02 * 0.02 * 0.03);
        CHECK_CLOSE(fourth / n / (squares / n * squares / n), 3, 0.1);
    });
}

TEST(random_normal_is_box_muller_over_two_halves) {
    const auto y = Invocation{"random_normal", {{"seed", 0x1p40 + 5}, {"site", 9.0}, {"std", 1.0}}, {}, {zeros(DType::f32, {11})}}.run("portable", 1)[0];
    for (uint32_t i = 0; i < 11; i++) {
        const Words w = philox({i / 4, 9, 0x7e3d, 0}, {5, 256});
        const uint32_t half = i % 4 / 2 * 2;
        const double r = std::sqrt(-2 * std::log((w[half] + 1.0) / 0x1p32)), angle = 2 * M_PI * w[half + 1] / 0x1p32;
        CHECK_CLOSE(y[i], i % 2 ? r * std::sin(angle) : r * std::cos(angle), 1e-6);
    }
}

TEST(random_uniform_fills_the_interval_and_never_reaches_its_end) {
    const int64_t n = 100003;
    Invocation{"random_uniform", {{"seed", 7.0}, {"site", 1.0}, {"bound", 0.25}}, {}, {zeros(DType::f32, {n})}}.on_each_isa([&](const auto& results) {
        double sum = 0, squares = 0;
        for (double x : results[0]) {
            CHECK(x >= -0.25 && x < 0.25);
            sum += x, squares += x * x;
        }
        CHECK_CLOSE(sum / n, 0, 0.25 * 5 / std::sqrt(3.0 * n));
        CHECK_CLOSE(squares / n, 0.25 * 0.25 / 3, 0.0005);
    });
}
