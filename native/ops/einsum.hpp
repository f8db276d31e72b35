// What an einsum's `spec` says of its operands ("td,vd->tv"), for its rules and its kernels.
#pragma once
#include "op.hpp"

namespace temper {

// Letters of the result first, then those that are summed over. An operand's stride is 0 for a letter that it lacks.
struct Einsum {
    static constexpr size_t MAX_LETTERS = 12, MAX_OPERANDS = 8;

    struct Letter {
        char name;
        int64_t size;
    };
    std::vector<Letter> result, summed;
    std::vector<std::vector<int64_t>> result_strides, summed_strides; // one list an operand, elements
};

// Throws std::invalid_argument where operands, output and the attribute `spec` do not fit.
Einsum parse_einsum(const Operands& record);

} // namespace temper
