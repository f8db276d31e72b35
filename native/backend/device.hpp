// A device as the engine uses it: the table's functions with errors as exceptions.
#pragma once
#include "../ops/op.hpp"
#include "backend_error.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace temper {

// The backend of that name: "cpu", or a plugin by its file. Loaded once and kept. Throws std::runtime_error.
const TemperBackend& find_backend(const std::string& name_or_file);
const TemperBackend& cpu_backend();

// What records are prepared for; needs no device.
class Target {
public:
    // Throws std::invalid_argument for a target that the backend does not have here.
    Target(const TemperBackend& backend, std::string name, int threads);

    const std::string& name() const { return name_; }
    int threads() const { return threads_; }
    size_t alignment() const { return properties_.alignment; }
    bool captures() const { return properties_.captures != 0; }
    bool runs_beside() const { return properties_.runs_beside != 0; }
    bool has_kernel(const std::string& op) const;
    // Bytes of scratch that a record needs; throws BackendError UNSUPPORTED where there is no kernel for it.
    size_t scratch(const Operands& record) const;
    void require(TemperStatus status, const std::string& doing = "") const; // throws BackendError unless it is OK

    const TemperBackend& backend;

private:
    std::string name_;
    int threads_;
    TemperTarget properties_{};
};

class Device;

// Memory of a device, given back when destroyed.
class DeviceMemory {
public:
    DeviceMemory() = default;
    DeviceMemory(const Device& device, void* at, size_t bytes) : device_(&device), at_(at), bytes_(bytes) {}
    DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
    DeviceMemory& operator=(DeviceMemory&& other) noexcept;
    ~DeviceMemory();

    char* at(size_t offset = 0) const { return static_cast<char*>(at_) + offset; }
    size_t bytes() const { return bytes_; }

private:
    const Device* device_ = nullptr;
    void* at_ = nullptr;
    size_t bytes_ = 0;
};

// What a device has made for the engine, given back by the table's function DROP when destroyed.
template <class Made, void (*TemperBackend::*DROP)(TemperDevice*, Made*)> class DeviceObject {
public:
    DeviceObject(const Device& device, Made* made) : device_(&device), made_(made) {}
    DeviceObject(DeviceObject&& other) noexcept : device_(other.device_), made_(std::exchange(other.made_, nullptr)) {}
    ~DeviceObject();
    Made* get() const { return made_; }

private:
    const Device* device_;
    Made* made_;
};

using PreparedRecord = DeviceObject<TemperCall, &TemperBackend::discard>;
using CapturedSegment = DeviceObject<TemperGraph, &TemperBackend::drop>;

class Device {
public:
    Device(const Target& target, const std::string& id);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const Target& target() const { return target_; }

    // Zero-filled. Throws BackendError OUT_OF_MEMORY that names `what`.
    DeviceMemory allocate(size_t bytes, const std::string& what) const;
    DeviceMemory load(const std::string& file, size_t offset, size_t bytes, size_t element, const std::string& what) const;

    void fill(void* at, int value, size_t bytes, int stream) const;
    void upload(void* to, const void* from, size_t bytes, int stream) const;
    void download(void* to, const void* from, size_t bytes, int stream) const;
    void copy(void* to, const void* from, size_t bytes, int stream) const;

    PreparedRecord prepare(const Operands& record, void* scratch) const;
    void enqueue(const PreparedRecord& record, bool first, int stream) const;

    void events(uint32_t count) const;
    void record(uint32_t event, int stream) const;
    void wait(uint32_t event, int stream) const;
    bool reached(uint32_t event) const;
    void synchronize(int stream) const;
    void synchronize() const; // all streams

    void begin_capture(int stream) const;
    CapturedSegment end_capture(int stream) const;
    void launch(const CapturedSegment& segment, int stream) const;

private:
    friend class DeviceMemory;
    template <class Made, void (*TemperBackend::*DROP)(TemperDevice*, Made*)> friend class DeviceObject;

    const Target target_;
    TemperDevice* device_ = nullptr;
};

template <class Made, void (*TemperBackend::*DROP)(TemperDevice*, Made*)> DeviceObject<Made, DROP>::~DeviceObject() {
    if (made_) (device_->target_.backend.*DROP)(device_->device_, made_);
}

} // namespace temper
