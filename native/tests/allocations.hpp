// How often a test program has taken memory from the heap. It replaces operator new, so one file of a program includes it.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace temper::check {

inline std::atomic<int64_t> allocation_count{0};
inline int64_t allocations() { return allocation_count; }

inline void* allocate(size_t bytes, size_t alignment) {
    allocation_count++;
    if (void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)) return memory;
    throw std::bad_alloc();
}

} // namespace temper::check

void* operator new(size_t bytes) { return temper::check::allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) { return temper::check::allocate(bytes, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
