// The scratch of a record, handed out piece by piece.
#pragma once
#include <cstddef>
#include <cstdint>

#ifndef TEMPER_ISA
#error "TEMPER_ISA names the kernel set: portable, avx2, avx512, avx512_bf16"
#endif

namespace temper::TEMPER_ISA {

// With a null base it only counts, so that a layout and its size cannot disagree.
class Scratch {
  public:
    explicit Scratch(void* base) : base(static_cast<char*>(base)) {}
    template <class T> T* take(int64_t count) { // 64-byte aligned
        T* piece = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return piece;
    }
    size_t bytes() const { return used; }

  private:
    char* base;
    size_t used = 0;
};

} // namespace temper::TEMPER_ISA
