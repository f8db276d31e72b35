// What rules say about a record's inputs, outputs and attributes. Every message names the op.
#pragma once
#include "op.hpp"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace temper {

inline void expect(bool condition, const Operands& record, const std::string& what) {
    if (!condition) throw std::invalid_argument(record.attrs.op + ": " + what);
}

inline void expect_counts(const Operands& record, size_t inputs, size_t outputs) {
    expect(record.in.size() == inputs && record.out.size() == outputs, record,
           "takes " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) + " outputs, not " +
               std::to_string(record.in.size()) + " and " + std::to_string(record.out.size()));
}

inline void expect_shape(const Operands& record, const Tensor& tensor, const char* name,
                         std::initializer_list<int64_t> shape) {
    auto text = [](const auto& dims) {
        std::string s = "[";
        for (int64_t d : dims) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
        return s + "]";
    };
    expect(std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end()), record,
           std::string(name) + " has shape " + text(tensor.shape) + ", expected " + text(shape));
}

inline void expect_rank(const Operands& record, const Tensor& tensor, const char* name, size_t rank) {
    expect(tensor.shape.size() == rank, record,
           std::string(name) + " has " + std::to_string(tensor.shape.size()) + " axes, expected " +
               std::to_string(rank));
}

inline void expect_dtype(const Operands& record, const Tensor& tensor, const char* name, DType dtype) {
    expect(tensor.dtype == dtype, record,
           std::string(name) + " must be " + name_of(dtype) + ", not " + name_of(tensor.dtype));
}

inline void expect_float(const Operands& record, const Tensor& tensor, const char* name) {
    expect(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16, record, std::string(name) + " must be f32 or bf16");
}

// A weight may also be f16, as checkpoints have it.
inline void expect_weight(const Operands& record, const Tensor& tensor, const char* name) {
    expect(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16 || tensor.dtype == DType::f16, record, std::string(name) + " must be f32, bf16 or f16");
}

// The columns of x are heads of K elements each, one at least.
inline void expect_whole_heads(const Operands& record, const Tensor& x, const char* name, int64_t K) {
    expect(x.shape[1] > 0 && x.shape[1] % K == 0, record,
           std::string(name) + " has " + std::to_string(x.shape[1]) + " columns, which are no whole heads of " + std::to_string(K));
}

} // namespace temper
