// What an op's check() says about its inputs, outputs and attributes. Every message names the op.
#pragma once
#include "../engine/op.hpp"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace temper::TEMPER_ISA {

inline void expect(bool condition, const Call& call, const std::string& what) {
    if (!condition) throw std::invalid_argument(call.attrs.op + ": " + what);
}

inline void expect_counts(const Call& call, size_t inputs, size_t outputs) {
    expect(call.in.size() == inputs && call.out.size() == outputs, call,
           "takes " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) + " outputs, not " +
               std::to_string(call.in.size()) + " and " + std::to_string(call.out.size()));
}

inline void expect_shape(const Call& call, const Tensor& tensor, const char* name,
                         std::initializer_list<int64_t> shape) {
    auto text = [](const auto& dims) {
        std::string s = "[";
        for (int64_t d : dims) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
        return s + "]";
    };
    expect(std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end()), call,
           std::string(name) + " has shape " + text(tensor.shape) + ", expected " + text(shape));
}

inline void expect_rank(const Call& call, const Tensor& tensor, const char* name, size_t rank) {
    expect(tensor.shape.size() == rank, call,
           std::string(name) + " has " + std::to_string(tensor.shape.size()) + " axes, expected " +
               std::to_string(rank));
}

inline void expect_dtype(const Call& call, const Tensor& tensor, const char* name, DType dtype) {
    expect(tensor.dtype == dtype, call,
           std::string(name) + " must be " + name_of(dtype) + ", not " + name_of(tensor.dtype));
}

inline void expect_float(const Call& call, const Tensor& tensor, const char* name) {
    expect(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16, call, std::string(name) + " must be f32 or bf16");
}

// A weight may also be f16, as checkpoints have it.
inline void expect_weight(const Call& call, const Tensor& tensor, const char* name) {
    expect(tensor.dtype != DType::i32, call, std::string(name) + " must be f32, bf16 or f16");
}

inline size_t no_workspace(const Call&) { return 0; }

} // namespace temper::TEMPER_ISA
