// The arithmetic that activation functions (native/ops/activation.hpp) are computed in on vectors.
#pragma once
#include "../ops/activation.hpp"
#include "loops.hpp"
#include "math.hpp"

namespace temper::TEMPER_ISA {

// To float32's precision.
struct Exact {
    using V = vf;
    struct Curve {
        V value, slope;
    };
    static V sigmoid(V x) { return TEMPER_ISA::sigmoid(x); }
    static Logistic logistic(V x) { return TEMPER_ISA::logistic(x); }
    static Normal normal(V x) { return normal_of(x, exp(-0.5f * x * x)); }
    static V max(V x, float bound) { return x < splat(bound) ? splat(bound) : x; }
    static V min(V x, float bound) { return x > splat(bound) ? splat(bound) : x; }
};

// For results that are rounded to bfloat16.
struct Fast : Exact {
    static V sigmoid(V x) { return sigmoid_fast(x); }
    static Logistic logistic(V x) { return logistic_fast(x); }
    static Normal normal(V x) {
        constexpr float HALF_LOG2_E = 0.72134752044448170f;
        return normal_of(x, exp2_fast(-HALF_LOG2_E * x * x));
    }
};

// A float tensor of either type, which is looked up for each vector: a branch that is always predicted costs nothing beside an
// exponential, and each function is compiled once instead of for each mixture of its operands' types.
class Floats {
  public:
    explicit Floats(const Tensor& tensor) : data_(tensor.data), is_f32_(tensor.dtype == DType::f32) {}

    template <class Lanes> vf load(int64_t i, Lanes lanes) const {
        if (is_f32_) return TEMPER_ISA::load(static_cast<const float*>(data_) + i, lanes);
        return TEMPER_ISA::load(static_cast<const bf16*>(data_) + i, lanes);
    }
    template <class Lanes> void store(int64_t i, vf v, Lanes lanes) const {
        if (is_f32_) return TEMPER_ISA::store(static_cast<float*>(data_) + i, v, lanes);
        TEMPER_ISA::store(static_cast<bf16*>(data_) + i, v, lanes);
    }

  private:
    void* data_;
    bool is_f32_;
};

// A prepared record from run(call, fn, arithmetic), for the activation function that the record names. The arithmetic is Fast
// where every output is bfloat16.
template <class Run> std::unique_ptr<Prepared> prepare_activation(const Call& call, Run run) {
    const bool fast = std::all_of(call.out.begin(), call.out.end(), [](const Tensor& y) { return y.dtype == DType::bf16; });
    std::unique_ptr<Prepared> result;
    with_activation(call.attrs.text("fn"), [&](auto fn) {
        result = fast ? prepared([&call, run](bool) { run(call, decltype(fn){}, Fast{}); })
                      : prepared([&call, run](bool) { run(call, decltype(fn){}, Exact{}); });
    });
    return result;
}

} // namespace temper::TEMPER_ISA
