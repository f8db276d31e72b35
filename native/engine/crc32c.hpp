// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of checkpoint files.
#pragma once
#include <cstddef>
#include <cstdint>

namespace temper {

// Continues from `crc`, which is 0 at the start. Uses the CPU's instructions where it has them.
uint32_t crc32c(const void* data, size_t bytes, uint32_t crc);

// The same by table, on any CPU.
uint32_t crc32c_portable(const void* data, size_t bytes, uint32_t crc);

} // namespace temper
