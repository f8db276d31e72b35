#include "crc32c.hpp"

#include <array>
#include <cstring>
#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace temper {

namespace {

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b] is the CRC of byte b followed by k zero bytes: "slicing by 8" (Kounavis and Berry, 2005).
constexpr Tables make_tables() {
    Tables tables{};
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
        tables[0][b] = crc;
    }
    for (size_t k = 1; k < 8; k++)
        for (size_t b = 0; b < 256; b++) tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xff];
    return tables;
}
constexpr Tables TABLES = make_tables();

inline uint64_t load_u64(const uint8_t* p) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    return word;
}

#if defined(__x86_64__)
#define TEMPER_CRC_TARGET __attribute__((target("sse4.2")))
TEMPER_CRC_TARGET inline uint32_t step8(uint32_t crc, uint64_t word) {
    return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
}
TEMPER_CRC_TARGET inline uint32_t step1(uint32_t crc, uint8_t byte) { return _mm_crc32_u8(crc, byte); }
bool has_instructions() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__linux__)
#define TEMPER_CRC_TARGET __attribute__((target("+crc")))
TEMPER_CRC_TARGET inline uint32_t step8(uint32_t crc, uint64_t word) { return __crc32cd(crc, word); }
TEMPER_CRC_TARGET inline uint32_t step1(uint32_t crc, uint8_t byte) { return __crc32cb(crc, byte); }
bool has_instructions() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

#if defined(TEMPER_CRC_TARGET)
TEMPER_CRC_TARGET uint32_t crc32c_hardware(const void* data, size_t bytes, uint32_t crc) {
    const auto* p = static_cast<const uint8_t*>(data);
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) crc = step8(crc, load_u64(p));
    for (; bytes > 0; bytes--) crc = step1(crc, *p++);
    return ~crc;
}
#endif

} // namespace

uint32_t crc32c_portable(const void* data, size_t bytes, uint32_t crc) {
    const auto* p = static_cast<const uint8_t*>(data);
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        const uint64_t word = load_u64(p) ^ crc; // little-endian, as every CPU that Temper builds for
        crc = 0;
        for (size_t k = 0; k < 8; k++) crc ^= TABLES[7 - k][(word >> (8 * k)) & 0xff];
    }
    for (; bytes > 0; bytes--) crc = (crc >> 8) ^ TABLES[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

uint32_t crc32c(const void* data, size_t bytes, uint32_t crc) {
#if defined(TEMPER_CRC_TARGET)
    static const bool hardware = has_instructions();
    if (hardware) return crc32c_hardware(data, bytes, crc);
#endif
    return crc32c_portable(data, bytes, crc);
}

} // namespace temper
