// GGUF's quantised tensors, unpacked to dense ones. Formats and formulas are ggml's (ggml-quants.c, dequantize_row_*),
// in float32 and in its order of operations, so that the values are ggml's bit by bit.
#pragma once
#include "../ops/op.hpp"

#include <string>

namespace temper {

// A format: every `elements` values are one block of `bytes` bytes.
struct GgmlType {
    int id; // ggml's own number, as in the file
    const char* name;
    size_t elements;
    size_t bytes;
    void (*unpack)(const uint8_t* block, float* to);
};

const GgmlType& ggml_type(int id); // throws std::invalid_argument listing the known ones

// Converts `elements` values at `offset` of `file` and writes them as f32 or bf16 (round to nearest even) at
// `output_offset` of `output`, which is created if absent and otherwise extended.
void dequantize(const std::string& file, size_t offset, int type, size_t elements, const std::string& output,
                size_t output_offset, DType dtype, int threads);

} // namespace temper
