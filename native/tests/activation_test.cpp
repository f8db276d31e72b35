// glu and act with each activation function, forward and backward: element by element against double precision.
#include "kernel_call.hpp"

#include "../ops/activation.hpp"

using namespace temper;
using namespace temper::check;

namespace {

const std::vector<std::vector<int64_t>> shapes = {{1, 1}, {1, 7}, {3, 17}, {5, 64}, {13, 101}, {7, 2903}, {13, 2903}};
const DType floats[] = {DType::f32, DType::bf16};

struct Function {
    std::string name;
    double (*value)(double);
    double (*slope)(double);
    // The exponent at x of the exponential within. A rounding of it by half an ulp is an error of 2⁻²⁴ of itself, as is one of x.
    double (*exponent)(double);
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double cdf(double x) { return std::erfc(-x * M_SQRT1_2) / 2; }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }
// The slope of x · σ(z) where z has the slope dz.
double gated_slope(double x, double z, double dz) { return sigmoid(z) * (1 + x * sigmoid(-z) * dz); }
const double tanh_linear = 2 * std::sqrt(2 / M_PI), tanh_cubic = 0.044715 * tanh_linear;
double tanh_z(double x) { return x * (tanh_linear + tanh_cubic * x * x); }

const std::vector<Function> functions = {
    {"silu", [](double x) { return x * sigmoid(x); }, [](double x) { return gated_slope(x, x, 1); }, [](double) { return 0.0; }},
    {"gelu", [](double x) { return x * cdf(x); }, [](double x) { return cdf(x) + x * density(x); }, [](double x) { return x * x / 2; }},
    {"gelu_tanh", [](double x) { return x * sigmoid(tanh_z(x)); },
     [](double x) { return gated_slope(x, tanh_z(x), tanh_linear + 3 * tanh_cubic * x * x); }, [](double x) { return tanh_z(x); }},
    {"quick_gelu", [](double x) { return x * sigmoid(1.702 * x); }, [](double x) { return gated_slope(x, 1.702 * x, 1.702); },
     [](double x) { return 1.702 * x; }},
    {"relu2", [](double x) { return x > 0 ? x * x : 0; }, [](double x) { return x > 0 ? 2 * x : 0; }, [](double) { return 0.0; }},
};

// What float32 may miss: five roundings of Φ and three of its factors, and those of the exponent, of the larger of the two terms of
// a slope, which differ in sign.
double allowed(const Function& fn, double x, double size) {
    return (8 + 3 * std::fabs(fn.exponent(x))) * 0x1p-24 * std::fabs(size);
}
double slope_size(const Function& fn, double x) {
    const double value = fn.value(x);
    return std::fabs(fn.slope(x)) + (x == 0 ? 1 : std::fabs(value / x)) * (1 + std::fabs(fn.exponent(x)));
}

void check_rounded(double result, DType dtype, double expected, double tolerance) {
    constexpr double LEAST = 1e-34; // the fast exponential ends at 2⁻¹²⁶, which is then multiplied by what is given
    CHECK_CLOSE(result, expected, rounding(dtype) * std::fabs(expected) * 1.01 + tolerance + LEAST);
}

// From one end of float32's exponential to the other, and the elements around the place of a tail.
Values ends(DType dtype) {
    std::vector<double> x = {-1000, -104, -100, -88, -60, -30, -15, -14.5, -12, -9, -5, -3, -1e-30, 0, 1e-30, 3, 5, 9, 12, 30, 88, 100, 1000};
    return values(dtype, {1, static_cast<int64_t>(x.size())}, x);
}

Values ones_like(const Values& x) { return values(DType::f32, x.shape, std::vector<double>(x.data.size(), 1.0)); }

using Attributes = std::map<std::string, Attr>;
Attributes with(const Function& fn) { return {{"fn", fn.name}}; }

} // namespace

TEST(these_are_all_functions) {
    std::vector<std::string> tested, known;
    for (const Function& fn : functions) tested.push_back(fn.name);
    std::apply([&](auto... each) { (known.push_back(each.name), ...); }, Activations{});
    CHECK(tested == known);
}

TEST(act_is_its_function) {
    for (const Function& fn : functions)
        for (DType from : floats)
            for (DType to : floats)
                for (const auto& shape : shapes) {
                    const Values x = normal(from, shape, 3);
                    Invocation{"act", with(fn), {x}, {zeros(to, shape)}}.on_each_isa([&](const auto& results) {
                        for (size_t i = 0; i < x.data.size(); i++)
                            check_rounded(results[0][i], to, fn.value(x.data[i]), allowed(fn, x.data[i], fn.value(x.data[i])));
                    });
                }
}

TEST(act_grad_is_the_slope_in_place_of_dy_or_x_too) {
    for (const Function& fn : functions)
        for (DType dtype : floats)
            for (const auto& shape : shapes)
                for (int input : {-1, 0, 1}) {
                    const Values x = normal(dtype, shape, 3), dy = normal(dtype, shape);
                    Invocation invocation{"act_grad", with(fn), {dy, x}, {zeros(dtype, shape)}};
                    if (input >= 0) invocation.in_place = {{0, static_cast<size_t>(input)}};
                    invocation.on_each_isa([&](const auto& results) {
                        for (size_t i = 0; i < x.data.size(); i++)
                            check_rounded(results[0][i], dtype, dy.data[i] * fn.slope(x.data[i]),
                                  std::fabs(dy.data[i]) * allowed(fn, x.data[i], slope_size(fn, x.data[i])));
                    });
                }
}

TEST(glu_is_its_function_of_gate_times_up) {
    for (const Function& fn : functions)
        for (DType gate : floats)
            for (DType up : floats)
                for (DType h : floats)
                    for (const auto& shape : shapes) {
                        const Values g = normal(gate, shape, 3), u = normal(up, shape);
                        Invocation{"glu", with(fn), {g, u}, {zeros(h, shape)}}.on_each_isa([&](const auto& results) {
                            for (size_t i = 0; i < g.data.size(); i++) {
                                const double expected = fn.value(g.data[i]) * u.data[i];
                                check_rounded(results[0][i], h, expected, allowed(fn, g.data[i], expected));
                            }
                        });
                    }
}

TEST(glu_grad_agrees_with_the_formula_in_place_too) {
    for (const Function& fn : functions)
        for (bool in_place : {false, true})
            for (DType dtype : floats)
                for (const auto& shape : shapes) {
                    const Values d = normal(DType::bf16, shape), g = normal(dtype, shape, 3), u = normal(dtype, shape);
                    Invocation invocation{"glu_grad", with(fn), {d, g, u}, {zeros(dtype, shape), zeros(dtype, shape)}};
                    if (in_place) invocation.in_place = {{0, 1}, {1, 2}};
                    invocation.on_each_isa([&](const auto& results) {
                        for (size_t i = 0; i < g.data.size(); i++) {
                            const double dh = d.data[i], x = g.data[i], dup = dh * fn.value(x);
                            check_rounded(results[0][i], dtype, dh * u.data[i] * fn.slope(x),
                                  std::fabs(dh * u.data[i]) * allowed(fn, x, slope_size(fn, x)));
                            check_rounded(results[1][i], dtype, dup, allowed(fn, x, dup));
                        }
                    });
                }
}

TEST(glu_grad_takes_any_mixture_of_types) {
    const std::vector<int64_t> shape = {3, 17};
    for (DType dh : floats)
        for (DType gate : floats)
            for (DType up : floats)
                for (DType dgate : floats)
                    for (DType dup : floats) {
                        const Function& fn = functions[1];
                        const Values d = normal(dh, shape), g = normal(gate, shape), u = normal(up, shape);
                        Invocation{"glu_grad", with(fn), {d, g, u}, {zeros(dgate, shape), zeros(dup, shape)}}.on_each_isa(
                            [&](const auto& results) {
                                for (size_t i = 0; i < g.data.size(); i++) {
                                    const double x = g.data[i], scale = d.data[i] * u.data[i], value = d.data[i] * fn.value(x);
                                    check_rounded(results[0][i], dgate, scale * fn.slope(x), std::fabs(scale) * allowed(fn, x, slope_size(fn, x)));
                                    check_rounded(results[1][i], dup, value, allowed(fn, x, value));
                                }
                            });
                    }
}

TEST(gradients_agree_with_finite_differences) {
    for (const Function& fn : functions) {
        const Values x = normal(DType::f32, {3, 11}), dy = normal(DType::f32, {3, 11});
        Invocation{"act_grad", with(fn), {dy, x}, {zeros(DType::f32, {3, 11})}}.on_each_isa([&](const auto& results) {
            const double step = 1e-5;
            for (size_t i = 0; i < x.data.size(); i++) {
                const double slope = (fn.value(x.data[i] + step) - fn.value(x.data[i] - step)) / (2 * step);
                CHECK_CLOSE(results[0][i], dy.data[i] * slope, 1e-5);
            }
        });
    }
}

TEST(functions_are_right_at_the_ends_of_the_exponential) {
    for (const Function& fn : functions)
        for (DType dtype : floats) {
            const Values x = ends(dtype), ones = ones_like(x);
            Invocation{"act", with(fn), {x}, {zeros(dtype, x.shape)}}.on_each_isa([&](const auto& results) {
                for (size_t i = 0; i < x.data.size(); i++)
                    check_rounded(results[0][i], dtype, fn.value(x.data[i]), allowed(fn, x.data[i], fn.value(x.data[i])));
            });
            Invocation{"act_grad", with(fn), {ones, x}, {zeros(dtype, x.shape)}}.on_each_isa([&](const auto& results) {
                for (size_t i = 0; i < x.data.size(); i++)
                    check_rounded(results[0][i], dtype, fn.slope(x.data[i]), allowed(fn, x.data[i], slope_size(fn, x.data[i])));
            });
        }
}

TEST(no_finite_number_makes_nan_and_nan_stays) {
    for (const Function& fn : functions)
        for (DType dtype : floats) {
            const Values x = values(dtype, {1, 5}, {-3e38, -1e20, 1e20, 3e38, NAN}), ones = ones_like(x);
            const auto check_nan = [&](const auto& results) {
                for (const std::vector<double>& y : results)
                    for (size_t i = 0; i < 5; i++) CHECK_EQ(std::isnan(y[i]), i == 4);
            };
            Invocation{"act", with(fn), {x}, {zeros(dtype, x.shape)}}.on_each_isa(check_nan);
            Invocation{"act_grad", with(fn), {ones, x}, {zeros(dtype, x.shape)}}.on_each_isa(check_nan);
            Invocation{"glu_grad", with(fn), {ones, x, ones}, {zeros(dtype, x.shape), zeros(dtype, x.shape)}}.on_each_isa(check_nan);
        }
}

TEST(infinities_give_the_limits) {
    for (const Function& fn : functions) {
        if (fn.name == "silu") continue; // not bounded
        for (DType dtype : floats) {
            const Values x = values(dtype, {1, 2}, {-INFINITY, INFINITY}), ones = ones_like(x);
            Invocation{"act", with(fn), {x}, {zeros(dtype, x.shape)}}.on_each_isa([&](const auto& results) {
                CHECK_CLOSE(results[0][0], 0, 1e-34);
                CHECK_EQ(results[0][1], INFINITY);
            });
            Invocation{"act_grad", with(fn), {ones, x}, {zeros(dtype, x.shape)}}.on_each_isa([&](const auto& results) {
                CHECK_CLOSE(results[0][0], 0, 1e-34);
                CHECK_EQ(results[0][1], fn.name == "relu2" ? INFINITY : 1.0);
            });
        }
    }
}

TEST(a_function_that_is_not_there_is_named_with_those_that_are) {
    const Values x = zeros(DType::f32, {3, 2});
    const Attributes mish = {{"fn", std::string("mish")}};
    CHECK_THROWS((Invocation{"act", mish, {x}, {x}}.run("portable", 1)),
                 "act: fn is 'mish'; it must be one of silu, gelu, gelu_tanh, quick_gelu, relu2");
    CHECK_THROWS((Invocation{"glu", mish, {x, x}, {x}}.run("portable", 1)), "glu: fn is 'mish'; it must be one of silu");
}

TEST(operands_of_another_shape_are_refused) {
    const Values x = zeros(DType::f32, {3, 2}), y = zeros(DType::f32, {2, 3});
    CHECK_THROWS((Invocation{"glu", with(functions[0]), {x}, {x}}.run("portable", 1)), "glu: takes 2 inputs");
    CHECK_THROWS((Invocation{"glu", with(functions[0]), {x, y}, {x}}.run("portable", 1)), "glu: a tensor has shape [2, 3], expected [3, 2]");
    CHECK_THROWS((Invocation{"act", with(functions[0]), {x}, {y}}.run("portable", 1)), "act: all tensors must have one shape");
}
