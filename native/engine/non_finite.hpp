// Weights are searched for NaN and infinities before they are trained on.
#pragma once
#include "../ops/op.hpp"

#include <string>

namespace temper {

// Index of the first NaN or infinity among `elements` values at `offset` of a file, or -1. Throws when the file is
// shorter, or the dtype has no such values.
int64_t first_non_finite(const std::string& file, size_t offset, DType dtype, size_t elements, int threads);

} // namespace temper
