// The primitives that ops without a kernel are lowered to, against plain loops in double precision.
#include "kernel_call.hpp"

#include <algorithm>

using namespace temper;
using namespace temper::check;

namespace {

const std::vector<std::vector<int64_t>> shapes = {{1}, {7}, {3, 17}, {13, 2903}};
const DType floats[] = {DType::f32, DType::bf16};

// Each result is the reference rounded to the type; `ulps` of float32 on top for what is computed in it.
void check_each(const std::vector<double>& result, DType dtype, double ulps, const std::function<double(int64_t)>& reference) {
    for (size_t i = 0; i < result.size(); i++) {
        const double expected = reference(static_cast<int64_t>(i));
        if (std::isnan(expected) || std::isinf(expected)) {
            CHECK(std::isnan(expected) ? std::isnan(result[i]) : result[i] == expected);
            continue;
        }
        CHECK_CLOSE(result[i], expected, (rounding(dtype) * 1.01 + ulps * 0x1p-24) * std::fabs(expected) + 1e-40);
    }
}

using Attributes = std::map<std::string, Attr>;

void check_unary(const char* fn, const std::function<double(double)>& reference, bool positive) {
    for (DType from : floats)
        for (DType to : floats)
            for (const auto& shape : shapes) {
                Values x = normal(from, shape, 2);
                for (double& v : x.data) v = positive ? std::fabs(v) + 0.5 : v;
                x = values(from, shape, x.data);
                Invocation{"unary", {{"fn", std::string(fn)}}, {x}, {zeros(to, shape)}}.on_each_isa(
                    [&](const auto& results) { check_each(results[0], to, 1, [&](int64_t i) { return reference(x[i]); }); });
            }
}

void check_binary(const char* fn, const std::function<double(double, double)>& reference) {
    for (DType a : floats)
        for (DType b : floats)
            for (const auto& shape : shapes)
                for (bool one : {false, true}) {
                    const Values va = normal(a, shape), vb = normal(b, one ? std::vector<int64_t>{1} : shape);
                    Invocation{"binary", {{"fn", std::string(fn)}}, {va, vb}, {zeros(DType::f32, shape)}}.on_each_isa([&](const auto& results) {
                        check_each(results[0], DType::f32, 1, [&](int64_t i) { return reference(va[i], vb[one ? 0 : i]); });
                    });
                }
}

} // namespace

TEST(unary_functions_are_those_of_double_precision_rounded) {
    check_unary("exp", [](double x) { return std::exp(x); }, false);
    check_unary("log", [](double x) { return std::log(x); }, true);
    check_unary("reciprocal", [](double x) { return 1 / x; }, true);
    check_unary("rsqrt", [](double x) { return 1 / std::sqrt(x); }, true);
    check_unary("sqrt", [](double x) { return std::sqrt(x); }, true);
    check_unary("sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, false);
    check_unary("tanh", [](double x) { return std::tanh(x); }, false);
    check_unary("erf", [](double x) { return std::erf(x); }, false);
    check_unary("abs", [](double x) { return std::fabs(x); }, false);
    check_unary("sign", [](double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0; }, false);
}

TEST(unary_keeps_zero_infinity_and_nan) {
    const Values x = values(DType::f32, {5}, {0, INFINITY, -INFINITY, NAN, -3});
    const auto run = [&](const char* fn, const std::vector<double>& expected) {
        Invocation{"unary", {{"fn", std::string(fn)}}, {x}, {zeros(DType::f32, {5})}}.on_each_isa([&](const auto& results) {
            check_each(results[0], DType::f32, 1, [&](int64_t i) { return expected[static_cast<size_t>(i)]; });
        });
    };
    run("is_finite", {1, 0, 0, 0, 1});
    run("sign", {0, 1, -1, NAN, -1});
    run("exp", {1, INFINITY, 0, NAN, std::exp(-3.0)});
    run("sqrt", {0, INFINITY, NAN, NAN, NAN});
}

TEST(binary_takes_one_number_for_all_or_one_each) {
    check_binary("add", [](double a, double b) { return a + b; });
    check_binary("subtract", [](double a, double b) { return a - b; });
    check_binary("multiply", [](double a, double b) { return a * b; });
    check_binary("divide", [](double a, double b) { return a / b; });
    check_binary("maximum", [](double a, double b) { return std::max(a, b); });
    check_binary("minimum", [](double a, double b) { return std::min(a, b); });
    check_binary("greater", [](double a, double b) { return a > b ? 1.0 : 0.0; });
}

TEST(maximum_and_minimum_of_nan_are_nan) {
    const Values a = values(DType::f32, {2}, {NAN, 1}), b = values(DType::f32, {2}, {1, NAN});
    for (const char* fn : {"maximum", "minimum"})
        Invocation{"binary", {{"fn", std::string(fn)}}, {a, b}, {zeros(DType::f32, {2})}}.on_each_isa(
            [](const auto& results) { CHECK(std::isnan(results[0][0]) && std::isnan(results[0][1])); });
}

TEST(shift_and_reshape_keep_the_order_of_elements) {
    for (DType from : floats)
        for (DType to : floats) {
            const Values x = normal(from, {6, 5003});
            Invocation{"shift", {{"by", 0.75}}, {x}, {zeros(to, {6, 5003})}}.on_each_isa(
                [&](const auto& results) { check_each(results[0], to, 1, [&](int64_t i) { return x[i] + 0.75; }); });
            Invocation{"reshape", {}, {x}, {zeros(to, {3, 2, 5003})}}.on_each_isa(
                [&](const auto& results) { check_each(results[0], to, 0, [&](int64_t i) { return x[i]; }); });
        }
}

TEST(elementwise_primitives_may_write_onto_their_input) {
    const Values x = normal(DType::f32, {20011}), b = normal(DType::f32, {20011});
    const auto in_place = [&](const char* op, Attributes attrs, std::vector<Values> in, std::pair<size_t, size_t> pair,
                              const std::function<double(int64_t)>& reference) {
        Invocation{op, std::move(attrs), std::move(in), {zeros(DType::f32, {20011})}, false, {pair}}.on_each_isa(
            [&](const auto& results) { check_each(results[0], DType::f32, 1, reference); });
    };
    in_place("unary", {{"fn", std::string("tanh")}}, {x}, {0, 0}, [&](int64_t i) { return std::tanh(x[i]); });
    in_place("shift", {{"by", 2.0}}, {x}, {0, 0}, [&](int64_t i) { return x[i] + 2; });
    in_place("reshape", {}, {x}, {0, 0}, [&](int64_t i) { return x[i]; });
    in_place("binary", {{"fn", std::string("multiply")}}, {x, b}, {0, 0}, [&](int64_t i) { return x[i] * b[i]; });
    in_place("where", {}, {b, x, b}, {0, 1}, [&](int64_t i) { return b[i] != 0 ? x[i] : b[i]; });
}

TEST(where_takes_a_unless_the_condition_is_zero) {
    for (const auto& shape : shapes) {
        Values condition = normal(DType::f32, shape);
        for (double& c : condition.data) c = c > 0 ? c : 0;
        const Values a = normal(DType::f32, shape), b = values(DType::bf16, shape, std::vector<double>(a.data.size(), NAN));
        Invocation{"where", {}, {condition, a, b}, {zeros(DType::f32, shape)}}.on_each_isa([&](const auto& results) {
            check_each(results[0], DType::f32, 0, [&](int64_t i) { return condition[i] != 0 ? a[i] : NAN; });
        });
        for (double c : {0.0, 1.0})
            Invocation{"where", {}, {values(DType::f32, {1}, {c}), a, b}, {zeros(DType::f32, shape)}}.on_each_isa([&](const auto& results) {
                check_each(results[0], DType::f32, 0, [&](int64_t i) { return c != 0 ? a[i] : NAN; });
            });
    }
}

TEST(literal_fills_or_lists_its_values) {
    for (DType dtype : floats) {
        Invocation{"literal", {{"values", std::vector<double>{-1.5}}}, {}, {zeros(dtype, {3, 2})}}.on_each_isa([](const auto& results) {
            for (double x : results[0]) CHECK_EQ(x, -1.5);
        });
        const std::vector<double> values = {1, -2, 3, 4, -5, 6};
        Invocation{"literal", {{"values", values}}, {}, {zeros(dtype, {3, 2})}}.on_each_isa(
            [&](const auto& results) { CHECK(results[0] == values); });
    }
}

TEST(pick_takes_one_element) {
    for (DType dtype : floats) {
        const Values x = normal(dtype, {6});
        for (int64_t index : {0, 3, 5})
            Invocation{"pick", {{"index", static_cast<double>(index)}}, {x}, {zeros(DType::f32, {1})}}.on_each_isa(
                [&](const auto& results) { CHECK_EQ(results[0][0], x[index]); });
    }
}

TEST(softmax_shift_is_the_largest_of_each_row) {
    for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {7, 13}, {101, 503}}) {
        const Values x = normal(DType::f32, {rows, width});
        Invocation{"softmax_shift", {}, {x}, {zeros(DType::f32, {rows})}}.on_each_isa([&, width = width](const auto& results) {
            check_each(results[0], DType::f32, 0, [&](int64_t row) {
                return *std::max_element(x.data.begin() + row * width, x.data.begin() + (row + 1) * width);
            });
        });
    }
}

TEST(one_hot_marks_each_id_and_nothing_for_a_negative_one) {
    const Values ids = integers({2, -100, 0, 4});
    Invocation{"one_hot", {}, {ids}, {zeros(DType::bf16, {4, 5})}}.on_each_isa([&](const auto& results) {
        check_each(results[0], DType::bf16, 0, [&](int64_t i) { return ids[i / 5] == i % 5 ? 1.0 : 0.0; });
    });
    CHECK_THROWS((Invocation{"one_hot", {}, {integers({5})}, {zeros(DType::f32, {1, 5})}}.run("portable", 1)), "it must be below 5");
}

TEST(span_mask_marks_the_keys_that_each_token_sees) {
    const std::vector<int64_t> spans = {0, 0, 0, 1, 0, 2, 3, 3, 3, 5, 4, 5, 6, 7, 6, 7};
    Invocation{"span_mask", {}, {integers(spans, {8, 2})}, {zeros(DType::f32, {8, 8})}}.on_each_isa([&](const auto& results) {
        check_each(results[0], DType::f32, 0, [&](int64_t i) {
            const size_t t = static_cast<size_t>(i / 8);
            return i % 8 >= spans[2 * t] && i % 8 <= spans[2 * t + 1] ? 1.0 : 0.0;
        });
    });
    CHECK_THROWS((Invocation{"span_mask", {}, {integers({0, 2, 0, 1}, {2, 2})}, {zeros(DType::f32, {2, 2})}}.run("portable", 1)), "[0, 2)");
}

namespace {

// The einsum of any operands by definition: a loop over all letters at once.
std::vector<double> reference_einsum(const std::string& result, const std::vector<std::string>& operands, const std::vector<Values>& in,
                                     std::map<char, int64_t> sizes) {
    std::string letters = result;
    for (const auto& operand : operands)
        for (char c : operand)
            if (letters.find(c) == std::string::npos) letters += c;
    int64_t total = 1, elements = 1;
    for (char c : letters) total *= sizes[c];
    for (char c : result) elements *= sizes[c];
    std::vector<double> y(static_cast<size_t>(elements));
    for (int64_t n = 0; n < total; n++) {
        std::map<char, int64_t> index;
        int64_t rest = n;
        for (char c : letters) index[c] = rest % sizes[c], rest /= sizes[c];
        auto at = [&](const std::string& axes) {
            int64_t offset = 0;
            for (char c : axes) offset = offset * sizes[c] + index[c];
            return offset;
        };
        double product = 1;
        for (size_t k = 0; k < operands.size(); k++) product *= in[k][at(operands[k])];
        y[static_cast<size_t>(at(result))] += product;
    }
    return y;
}

} // namespace

TEST(einsum_sums_products_over_the_letters_that_the_result_lacks) {
    struct Case {
        const char* spec;
        std::vector<std::string> operands;
        const char* result;
    };
    const std::map<char, int64_t> sizes = {{'t', 13}, {'d', 7}, {'v', 11}, {'g', 2}, {'h', 3}, {'k', 5}, {'s', 13}, {'z', 1}};
    const Case cases[] = {
        {"td,vd->tv", {"td", "vd"}, "tv"},        {"td,td->t", {"td", "td"}, "t"},       {"td,t,d->td", {"td", "t", "d"}, "td"},
        {"tghk,sgk->ghts", {"tghk", "sgk"}, "ghts"}, {"td,z->z", {"td", "z"}, "z"},       {"dt->td", {"dt"}, "td"},
        {"ghts,sgk,ght->tghk", {"ghts", "sgk", "ght"}, "tghk"},
    };
    for (const Case& test : cases) {
        for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
            auto shape_of = [&](const std::string& axes) {
                std::vector<int64_t> shape;
                for (char c : axes) shape.push_back(sizes.at(c));
                return shape;
            };
            std::vector<Values> in;
            for (const auto& operand : test.operands) in.push_back(normal(in.empty() ? dtype : DType::f32, shape_of(operand)));
            const auto expected = reference_einsum(test.result, test.operands, in, sizes);
            for (DType to : floats)
                Invocation{"einsum", {{"spec", std::string(test.spec)}}, in, {zeros(to, shape_of(test.result))}}.on_each_isa(
                    [&](const auto& results) {
                        for (size_t i = 0; i < expected.size(); i++)
                            CHECK_CLOSE(results[0][i], expected[i], rounding(to) * 1.01 * std::fabs(expected[i]) + 1e-12);
                    });
        }
    }
}

TEST(einsum_of_one_long_sum_and_of_many_elements) {
    const Values x = normal(DType::f32, {300, 401});
    Invocation{"einsum", {{"spec", std::string("td->t")}}, {x}, {zeros(DType::f32, {300})}}.on_each_isa([&](const auto& results) {
        for (int64_t t = 0; t < 300; t++) {
            double sum = 0;
            for (int64_t d = 0; d < 401; d++) sum += x[t * 401 + d];
            CHECK_CLOSE(results[0][static_cast<size_t>(t)], sum, 1e-6 * std::fabs(sum) + 1e-12);
        }
    });
    Invocation{"einsum", {{"spec", std::string("td->dt")}}, {x}, {zeros(DType::f32, {401, 300})}}.on_each_isa([&](const auto& results) {
        for (int64_t i = 0; i < 401 * 300; i++) CHECK_EQ(results[0][static_cast<size_t>(i)], x[i % 300 * 401 + i / 300]);
    });
}

TEST(primitives_refuse_what_they_cannot_compute) {
    const auto einsum = [](const char* spec, std::vector<Values> in, std::vector<int64_t> to) {
        Invocation{"einsum", {{"spec", std::string(spec)}}, std::move(in), {zeros(DType::f32, std::move(to))}}.run("portable", 1);
    };
    const Values x = zeros(DType::f32, {3, 4});
    CHECK_THROWS(einsum("ab", {x}, {3}), "has no '->'");
    CHECK_THROWS(einsum("aa->a", {x}, {3}), "twice in one operand");
    CHECK_THROWS(einsum("aB->a", {x}, {3}), "not a letter");
    CHECK_THROWS(einsum("ab->c", {x}, {3}), "axis c of the result is in no operand");
    CHECK_THROWS(einsum("ab,b->a", {x, zeros(DType::f32, {3})}, {3}), "axis b has two sizes");
    CHECK_THROWS(einsum("ab->a", {x}, {4}), "differ in axis a");
    CHECK_THROWS(einsum("ab,b->a", {x}, {3}), "as many inputs as its spec");
    CHECK_THROWS((Invocation{"unary", {{"fn", std::string("cosh")}}, {x}, {x}}.run("portable", 1)), "fn is 'cosh'; it must be one of exp, log");
    CHECK_THROWS((Invocation{"binary", {{"fn", std::string("add")}}, {x, zeros(DType::f32, {4})}, {x}}.run("portable", 1)), "b and y differ");
    CHECK_THROWS((Invocation{"literal", {{"values", std::vector<double>{1, 2}}}, {}, {x}}.run("portable", 1)), "2 values for 12 elements");
    CHECK_THROWS((Invocation{"pick", {{"index", 4.0}}, {zeros(DType::f32, {4})}, {zeros(DType::f32, {1})}}.run("portable", 1)), "[0, 4)");
}
