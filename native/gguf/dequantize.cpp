#include "dequantize.hpp"

#include "../engine/memory.hpp"
#include "../engine/parallel.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace temper {

namespace {

// --- Scalars ---------------------------------------------------------------------------------------------------------

template <class T> T load(const uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

float half(const uint8_t* p) {
    const uint32_t h = load<uint16_t>(p);
    const uint32_t sign = (h & 0x8000) << 16, exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ff;
    if (exponent == 0) { // zero or subnormal: mantissa · 2^-24, exact in float32
        const float value = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -value : value;
    }
    if (exponent == 31) return from_bits(sign | 0x7f800000 | mantissa << 13);
    return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t to_bf16(float value) {
    const auto bits = load<uint32_t>(reinterpret_cast<const uint8_t*>(&value));
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// --- Dense formats ---------------------------------------------------------------------------------------------------

void unpack_f32(const uint8_t* p, float* y) { *y = load<float>(p); }
void unpack_f16(const uint8_t* p, float* y) { *y = half(p); }
void unpack_bf16(const uint8_t* p, float* y) { *y = from_bits(uint32_t{load<uint16_t>(p)} << 16); }

// --- Blocks of 32: a scale d, perhaps a minimum m, then 4-bit values (the first half of the block in the low nibbles,
// the second in the high ones), for 5-bit formats preceded by their 32 fifth bits ------------------------------------

struct Nibbles {
    const uint8_t* q;
    uint32_t fifth;
    int low(int j) const { return (q[j] & 0xf) | static_cast<int>((fifth >> j & 1) << 4); }
    int high(int j) const { return q[j] >> 4 | static_cast<int>((fifth >> (j + 16) & 1) << 4); }
};

void unpack_centred(const Nibbles& x, float d, int centre, float* y) {
    for (int j = 0; j < 16; j++) {
        y[j] = static_cast<float>(x.low(j) - centre) * d;
        y[j + 16] = static_cast<float>(x.high(j) - centre) * d;
    }
}

void unpack_affine(const Nibbles& x, float d, float m, float* y) {
    for (int j = 0; j < 16; j++) {
        y[j] = static_cast<float>(x.low(j)) * d + m;
        y[j + 16] = static_cast<float>(x.high(j)) * d + m;
    }
}

void unpack_q4_0(const uint8_t* p, float* y) { unpack_centred({p + 2, 0}, half(p), 8, y); }
void unpack_q4_1(const uint8_t* p, float* y) { unpack_affine({p + 4, 0}, half(p), half(p + 2), y); }
void unpack_q5_0(const uint8_t* p, float* y) { unpack_centred({p + 6, load<uint32_t>(p + 2)}, half(p), 16, y); }
void unpack_q5_1(const uint8_t* p, float* y) {
    unpack_affine({p + 8, load<uint32_t>(p + 4)}, half(p), half(p + 2), y);
}

void unpack_q8_0(const uint8_t* p, float* y) {
    const float d = half(p);
    for (int j = 0; j < 32; j++) y[j] = static_cast<float>(static_cast<int8_t>(p[2 + j])) * d;
}

// --- Blocks of 256 ("super-blocks") -----------------------------------------------------------------------------------

// Q4_K: d, dmin, 8 pairs of 6-bit (scale, minimum) in 12 bytes, 256 nibbles. Sub-block j of 32 values is
// d·scale[j]·q − dmin·min[j].
void unpack_q4_k(const uint8_t* p, float* y) {
    const float d = half(p), dmin = half(p + 2);
    const uint8_t *packed = p + 4, *q = p + 16;
    auto pair = [&](int j, float& scale, float& min) {
        const int s = j < 4 ? packed[j] & 63 : (packed[j + 4] & 0xf) | (packed[j - 4] >> 6) << 4;
        const int m = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
        scale = d * static_cast<float>(s);
        min = dmin * static_cast<float>(m);
    };
    for (int j = 0; j < 8; j += 2, q += 32, y += 64) {
        float d1, m1, d2, m2;
        pair(j, d1, m1);
        pair(j + 1, d2, m2);
        for (int l = 0; l < 32; l++) {
            y[l] = d1 * static_cast<float>(q[l] & 0xf) - m1;
            y[l + 32] = d2 * static_cast<float>(q[l] >> 4) - m2;
        }
    }
}

// Q6_K: 256 low nibbles, 256 high bit pairs, 16 signed scales, d. Values are d·scale·(q − 32), 16 to a scale.
void unpack_q6_k(const uint8_t* p, float* y) {
    const uint8_t *low = p, *high = p + 128;
    const auto* scales = reinterpret_cast<const int8_t*>(p + 192);
    const float d = half(p + 208);
    for (int part = 0; part < 2; part++, y += 128, low += 64, high += 32, scales += 8) {
        for (int l = 0; l < 32; l++) {
            const int q[4] = {
                (low[l] & 0xf) | (high[l] & 3) << 4,
                (low[l + 32] & 0xf) | (high[l] >> 2 & 3) << 4,
                low[l] >> 4 | (high[l] >> 4 & 3) << 4,
                low[l + 32] >> 4 | (high[l] >> 6 & 3) << 4,
            };
            for (int k = 0; k < 4; k++)
                y[l + 32 * k] = d * static_cast<float>(scales[l / 16 + 2 * k]) * static_cast<float>(q[k] - 32);
        }
    }
}

constexpr GgmlType TYPES[] = {
    {0, "F32", 1, 4, unpack_f32},        {1, "F16", 1, 2, unpack_f16},
    {2, "Q4_0", 32, 18, unpack_q4_0},    {3, "Q4_1", 32, 20, unpack_q4_1},
    {6, "Q5_0", 32, 22, unpack_q5_0},    {7, "Q5_1", 32, 24, unpack_q5_1},
    {8, "Q8_0", 32, 34, unpack_q8_0},    {12, "Q4_K", 256, 144, unpack_q4_k},
    {14, "Q6_K", 256, 210, unpack_q6_k}, {30, "BF16", 1, 2, unpack_bf16},
};

// --- Files -----------------------------------------------------------------------------------------------------------

class OutputFile {
public:
    explicit OutputFile(const std::string& path) : path_(path) {
        descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0) throw std::runtime_error("cannot open " + path + " for writing: " + std::strerror(errno));
    }
    ~OutputFile() { ::close(descriptor_); }
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    void write(const void* from, size_t offset, size_t bytes) const {
        const char* at = static_cast<const char*>(from);
        while (bytes > 0) {
            const ssize_t n = pwrite(descriptor_, at, bytes, static_cast<off_t>(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) throw std::runtime_error("cannot write " + path_ + ": " + std::strerror(errno));
            at += n, offset += static_cast<size_t>(n), bytes -= static_cast<size_t>(n);
        }
    }

private:
    std::string path_;
    int descriptor_;
};

} // namespace

const GgmlType& ggml_type(int id) {
    std::string known;
    for (const GgmlType& type : TYPES) {
        if (type.id == id) return type;
        known += (known.empty() ? "" : ", ") + std::string(type.name) + " (" + std::to_string(type.id) + ")";
    }
    throw std::invalid_argument("unknown ggml type " + std::to_string(id) + "; known are " + known);
}

void dequantize(const std::string& file, size_t offset, int type_id, size_t elements, const std::string& output,
                size_t output_offset, DType dtype, int threads) {
    constexpr size_t PIECE = size_t{1} << 18; // elements; a multiple of every block
    const GgmlType& type = ggml_type(type_id);
    if (dtype != DType::f32 && dtype != DType::bf16)
        throw std::invalid_argument(std::string("cannot dequantize to ") + name_of(dtype) + ", only to f32 and bf16");
    if (elements % type.elements != 0)
        throw std::invalid_argument(std::to_string(elements) + " values are not whole blocks of " +
                                    std::to_string(type.elements) + ", as " + type.name + " has them");
    const InputFile input(file);
    size_t bytes, output_end;
    if (__builtin_mul_overflow(elements / type.elements, type.bytes, &bytes)) bytes = SIZE_MAX;
    input.require(offset, bytes);
    if (__builtin_mul_overflow(elements, bytes_of(dtype), &output_end) ||
        __builtin_add_overflow(output_end, output_offset, &output_end) || output_end > size_t{1} << 62)
        throw std::invalid_argument("the output would end past any file's end");

    const OutputFile out(output);
    for_each_piece(threads, (elements + PIECE - 1) / PIECE, [&](size_t piece) {
        const size_t from = piece * PIECE, n = std::min(PIECE, elements - from), blocks = n / type.elements;
        std::vector<uint8_t> packed(blocks * type.bytes);
        std::vector<float> values(n);
        input.read(packed.data(), offset + from / type.elements * type.bytes, packed.size());
        for (size_t b = 0; b < blocks; b++) type.unpack(&packed[b * type.bytes], &values[b * type.elements]);
        if (dtype == DType::f32) return out.write(values.data(), output_offset + from * 4, n * 4);
        std::vector<uint16_t> rounded(n);
        std::transform(values.begin(), values.end(), rounded.begin(), to_bf16);
        out.write(rounded.data(), output_offset + from * 2, n * 2);
    });
}

} // namespace temper
