// The label of a position that is not supervised.
#pragma once
#include <cstdint>

namespace temper {

constexpr int32_t NO_LABEL = -100;

} // namespace temper
