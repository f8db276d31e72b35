#include "non_finite.hpp"

#include "memory.hpp"
#include "parallel.hpp"

#include <algorithm>
#include <atomic>

namespace temper {

namespace {

constexpr size_t PIECE = size_t{1} << 20; // elements

// A float is NaN or infinite exactly when all bits of its exponent are set.
template <class Word> size_t find(const Word* words, size_t n, Word exponent) {
    constexpr size_t BLOCK = 4096; // searched without a branch, so that the compiler uses vectors
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t end = std::min(n, at + BLOCK);
        bool found = false;
        for (size_t i = at; i < end; i++) found |= (words[i] & exponent) == exponent;
        for (size_t i = at; found && i < end; i++)
            if ((words[i] & exponent) == exponent) return i;
    }
    return n;
}

size_t find(const std::vector<uint32_t>& buffer, size_t n, DType dtype) {
    const void* data = buffer.data();
    if (dtype == DType::f32) return find(static_cast<const uint32_t*>(data), n, uint32_t{0x7f800000});
    return find(static_cast<const uint16_t*>(data), n, static_cast<uint16_t>(dtype == DType::bf16 ? 0x7f80 : 0x7c00));
}

} // namespace

int64_t first_non_finite(const std::string& file, size_t offset, DType dtype, size_t elements, int threads) {
    if (dtype == DType::i32) throw std::invalid_argument("i32 values are always finite");
    const InputFile input(file);
    size_t bytes;
    if (__builtin_mul_overflow(elements, bytes_of(dtype), &bytes)) bytes = SIZE_MAX;
    input.require(offset, bytes);
    std::atomic<size_t> first{elements};
    for_each_piece(threads, (elements + PIECE - 1) / PIECE, [&](size_t piece) {
        const size_t from = piece * PIECE, n = std::min(PIECE, elements - from);
        if (from > first) return;
        std::vector<uint32_t> buffer((n * bytes_of(dtype) + 3) / 4);
        input.read(buffer.data(), offset + from * bytes_of(dtype), n * bytes_of(dtype));
        const size_t at = find(buffer, n, dtype);
        if (at == n) return;
        for (size_t seen = first; from + at < seen && !first.compare_exchange_weak(seen, from + at);) {}
    });
    return first == elements ? -1 : static_cast<int64_t>(first);
}

} // namespace temper
