#include "memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace temper {

namespace {

constexpr size_t HUGE_PAGE = size_t{2} << 20;

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

} // namespace

Pages Pages::zeroed(size_t bytes) {
    Pages pages;
    if (bytes == 0) return pages;
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw OutOfMemory("cannot allocate " + std::to_string(bytes) + " bytes: " + std::strerror(errno));
#if defined(MADV_HUGEPAGE)
    // Ranges that lie side by side become one, so that the small tensors of a model share huge pages.
    madvise(base, bytes, MADV_HUGEPAGE); // advice: a kernel without it is as correct
#endif
    pages.base_ = base;
    pages.bytes_ = bytes;
    return pages;
}

Pages Pages::mapped(int file, size_t offset, size_t bytes) {
    Pages pages;
    if (bytes == 0) return pages;
    const size_t lead = offset % static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* base = mmap(nullptr, lead + bytes, PROT_READ, MAP_PRIVATE, file, static_cast<off_t>(offset - lead));
    if (base == MAP_FAILED) fail("cannot map " + std::to_string(bytes) + " bytes");
    pages.base_ = base;
    pages.lead_ = lead;
    pages.bytes_ = bytes;
    return pages;
}

size_t physical_memory() {
    return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

Pages::Pages(Pages&& other) noexcept { *this = std::move(other); }

Pages& Pages::operator=(Pages&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(lead_, other.lead_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

Pages::~Pages() {
    if (base_) munmap(base_, lead_ + bytes_);
}

InputFile::InputFile(const std::string& path) : path_(path) {
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("cannot open " + path);
    struct stat info;
    if (fstat(descriptor_, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(descriptor_);
        throw std::runtime_error(path + " is not a regular file");
    }
    size_ = static_cast<size_t>(info.st_size);
}

InputFile::~InputFile() { close(descriptor_); }

void InputFile::require(size_t offset, size_t bytes) const {
    if (offset <= size_ && bytes <= size_ - offset) return;
    throw std::out_of_range(path_ + " has " + std::to_string(size_) + " bytes, not the " + std::to_string(bytes) +
                            " from offset " + std::to_string(offset) + " that are needed");
}

void InputFile::read(void* to, size_t offset, size_t bytes) const {
    char* at = static_cast<char*>(to);
    while (bytes > 0) {
        const ssize_t n = pread(descriptor_, at, bytes, static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail("cannot read " + path_);
        if (n == 0) throw std::runtime_error(path_ + " ended at byte " + std::to_string(offset) + " while it was read");
        at += n, offset += static_cast<size_t>(n), bytes -= static_cast<size_t>(n);
    }
}

const char* name_of(DType dtype) {
    static constexpr const char* names[] = {"f32", "bf16", "f16", "f64", "i32", "u8", "i8", "f8e4m3", "f8e5m2"};
    return names[static_cast<size_t>(dtype)];
}

DType dtype_of(std::string_view name) {
    for (DType dtype : ALL_DTYPES)
        if (name == name_of(dtype)) return dtype;
    std::string known;
    for (DType dtype : ALL_DTYPES) known += (known.empty() ? "" : ", ") + std::string(name_of(dtype));
    throw std::invalid_argument("unknown dtype '" + std::string(name) + "'; known are " + known);
}

std::string describe(DType dtype, const std::vector<int64_t>& shape) {
    std::string text = std::string(name_of(dtype)) + " [";
    for (size_t i = 0; i < shape.size(); i++) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

size_t checked_bytes(const std::string& what, DType dtype, const std::vector<int64_t>& shape) {
    size_t bytes = bytes_of(dtype);
    for (int64_t d : shape) {
        if (d < 1) throw std::invalid_argument(what + " has a dimension of " + std::to_string(d));
        if (__builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes) || bytes > (size_t{1} << 62))
            throw std::invalid_argument(what + " of shape " + describe(dtype, shape) + " is too large");
    }
    return bytes;
}

} // namespace temper
