// Memory of the engine: ranges of pages from the system, never from the heap.
#pragma once
#include "../ops/op.hpp"

#include <stdexcept>
#include <string>

namespace temper {

constexpr size_t ALIGNMENT = 64; // bytes: a cache line, and the widest vector

constexpr size_t align_up(size_t bytes, size_t to = ALIGNMENT) { return (bytes + to - 1) / to * to; }

// The system refuses memory.
class OutOfMemory : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

size_t physical_memory(); // bytes

// An owned range of pages; unmapped when destroyed.
class Pages {
public:
    Pages() = default;
    // Zero-filled and private; the system commits a page when it is first touched. Asks for huge pages.
    static Pages zeroed(size_t bytes); // throws OutOfMemory
    // The window [offset, offset + bytes) of an open file, read-only; data() points at `offset` itself.
    static Pages mapped(int file, size_t offset, size_t bytes);

    Pages(Pages&& other) noexcept;
    Pages& operator=(Pages&& other) noexcept;
    ~Pages();

    void* data() const { return static_cast<char*>(base_) + lead_; }
    size_t bytes() const { return bytes_; }

private:
    void* base_ = nullptr;
    size_t lead_ = 0;  // bytes between the page's start and data()
    size_t bytes_ = 0; // from data()
};

// A read-only regular file, closed when destroyed. Errors name the file and what the system said.
class InputFile {
public:
    explicit InputFile(const std::string& path);
    ~InputFile();
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    int descriptor() const { return descriptor_; }
    // Throws std::out_of_range unless [offset, offset + bytes) lies within the file.
    void require(size_t offset, size_t bytes) const;
    void read(void* to, size_t offset, size_t bytes) const;

private:
    std::string path_;
    int descriptor_ = -1;
    size_t size_ = 0;
};

DType dtype_of(std::string_view name); // throws std::invalid_argument
std::string describe(DType dtype, const std::vector<int64_t>& shape); // "bf16 [3, 4]"

// Bytes of a dense tensor; throws std::invalid_argument on a dimension below 1 or more than 2^62 bytes.
size_t checked_bytes(const std::string& what, DType dtype, const std::vector<int64_t>& shape);

} // namespace temper
