#include "device.hpp"

#include <dlfcn.h>
#include <map>
#include <mutex>
#include <utility>

namespace temper {

const TemperBackend& find_backend(const std::string& name_or_file) {
    if (name_or_file == "cpu") return cpu_backend();
    static std::mutex mutex;
    static std::map<std::string, const TemperBackend*> plugins;
    std::lock_guard lock(mutex);
    const TemperBackend*& backend = plugins[name_or_file];
    if (backend) return *backend;
    const std::string what = "cannot load the backend " + name_or_file + ": ";
    void* plugin = dlopen(name_or_file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!plugin) throw std::runtime_error(what + dlerror());
    const auto entry = reinterpret_cast<TemperBackendEntry>(dlsym(plugin, TEMPER_BACKEND_ENTRY));
    if (!entry) throw std::runtime_error(what + "it has no function " TEMPER_BACKEND_ENTRY);
    const char* reason = "it gives no reason";
    const TemperBackend* table = entry(&reason);
    if (!table) throw std::runtime_error(what + reason);
    if (table->abi != TEMPER_BACKEND_ABI || table->bytes < sizeof(TemperBackend))
        throw std::runtime_error(what + "it was built for interface " + std::to_string(table->abi) + ", this engine has " +
                                 std::to_string(TEMPER_BACKEND_ABI) + ": build both from one source");
    backend = table;
    return *backend;
}

// --- A record as the table has it --------------------------------------------------------------------------------------

namespace {

// Keeps alive what the C structs point at.
class RecordView {
public:
    explicit RecordView(const Operands& record) {
        for (const Tensor& tensor : record.in) inputs_.push_back(view(tensor));
        for (const Tensor& tensor : record.out) outputs_.push_back(view(tensor));
        numbers_.reserve(record.attrs.values.size());
        for (const auto& [key, value] : record.attrs.values) attributes_.push_back(view(key, value));
        record_ = {record.attrs.op.c_str(), static_cast<uint32_t>(inputs_.size()), static_cast<uint32_t>(outputs_.size()),
                   static_cast<uint32_t>(attributes_.size()), inputs_.data(), outputs_.data(), attributes_.data()};
    }
    const TemperRecord* get() const { return &record_; }

private:
    static TemperTensor view(const Tensor& tensor) {
        return {static_cast<TemperDType>(tensor.dtype), static_cast<uint32_t>(tensor.shape.size()), tensor.shape.data(), tensor.data};
    }

    TemperAttribute view(const std::string& key, const Attr& value) {
        TemperAttribute attribute{key.c_str(), TEMPER_NUMBER, 0, nullptr, nullptr, 0};
        if (const double* number = std::get_if<double>(&value)) {
            attribute.number = *number;
        } else if (const bool* flag = std::get_if<bool>(&value)) {
            attribute.type = TEMPER_FLAG;
            attribute.number = *flag;
        } else if (const std::string* text = std::get_if<std::string>(&value)) {
            attribute.type = TEMPER_TEXT;
            attribute.text = text->c_str();
        } else {
            const auto* flags = std::get_if<std::vector<bool>>(&value);
            attribute.type = flags ? TEMPER_FLAGS : TEMPER_NUMBERS;
            if (flags) numbers_.emplace_back(flags->begin(), flags->end());
            else numbers_.push_back(std::get<std::vector<double>>(value));
            attribute.numbers = numbers_.back().data();
            attribute.count = static_cast<uint32_t>(numbers_.back().size());
        }
        return attribute;
    }

    std::vector<TemperTensor> inputs_, outputs_;
    std::vector<std::vector<double>> numbers_;
    std::vector<TemperAttribute> attributes_;
    TemperRecord record_{};
};

} // namespace

// --- Device ------------------------------------------------------------------------------------------------------------

Target::Target(const TemperBackend& table, std::string name, int threads) : backend(table), name_(std::move(name)), threads_(threads) {
    const TemperTarget* targets = nullptr;
    uint32_t count = 0;
    require(backend.targets(&targets, &count));
    std::string known;
    for (uint32_t i = 0; i < count; i++) {
        if (name_ == targets[i].name) properties_ = targets[i];
        known += (i ? ", " : "") + std::string(targets[i].name);
    }
    if (!properties_.name)
        throw std::invalid_argument("this machine does not run the kernel set '" + name_ + "'; it runs " + (known.empty() ? "none" : known));
}

void Target::require(TemperStatus status, const std::string& doing) const {
    if (status != TEMPER_OK) throw BackendError(status, doing + backend.last_error());
}

bool Target::has_kernel(const std::string& op) const {
    const TemperOptions options{name_.c_str(), threads_};
    const TemperRecord record{op.c_str(), 0, 0, 0, nullptr, nullptr, nullptr};
    const TemperStatus status = backend.supports(&options, &record, nullptr);
    if (status != TEMPER_UNSUPPORTED) require(status);
    return status == TEMPER_OK;
}

size_t Target::scratch(const Operands& record) const {
    const TemperOptions options{name_.c_str(), threads_};
    TemperNeeds needs{};
    require(backend.supports(&options, RecordView(record).get(), &needs));
    return needs.scratch;
}

Device::Device(const Target& target, const std::string& id) : target_(target) {
    const TemperOptions options{target_.name().c_str(), target_.threads()};
    target_.require(target_.backend.open(id.c_str(), &options, &device_), "cannot open the device: ");
}

Device::~Device() {
    if (device_) target_.backend.close(device_);
}

DeviceMemory Device::allocate(size_t bytes, const std::string& what) const {
    void* at = nullptr;
    target_.require(target_.backend.allocate(device_, bytes, &at), what + ": ");
    return {*this, at, bytes};
}

DeviceMemory Device::load(const std::string& file, size_t offset, size_t bytes, size_t element, const std::string& what) const {
    void* at = nullptr;
    target_.require(target_.backend.load(device_, file.c_str(), offset, bytes, element, &at), what + ": ");
    return {*this, at, bytes};
}

void Device::fill(void* at, int value, size_t bytes, int stream) const { target_.require(target_.backend.fill(device_, at, value, bytes, stream)); }

void Device::upload(void* to, const void* from, size_t bytes, int stream) const {
    target_.require(target_.backend.upload(device_, to, from, bytes, stream));
}

void Device::download(void* to, const void* from, size_t bytes, int stream) const {
    target_.require(target_.backend.download(device_, to, from, bytes, stream));
}

void Device::copy(void* to, const void* from, size_t bytes, int stream) const {
    target_.require(target_.backend.copy(device_, to, from, bytes, stream));
}

PreparedRecord Device::prepare(const Operands& record, void* scratch) const {
    TemperCall* call = nullptr;
    target_.require(target_.backend.prepare(device_, RecordView(record).get(), scratch, &call));
    return {*this, call};
}

void Device::enqueue(const PreparedRecord& record, bool first, int stream) const {
    target_.require(target_.backend.enqueue(device_, record.get(), first, stream));
}

void Device::events(uint32_t count) const { target_.require(target_.backend.events(device_, count)); }
void Device::record(uint32_t event, int stream) const { target_.require(target_.backend.record(device_, event, stream)); }
void Device::wait(uint32_t event, int stream) const { target_.require(target_.backend.wait(device_, event, stream)); }

bool Device::reached(uint32_t event) const {
    const TemperStatus status = target_.backend.query(device_, event);
    if (status == TEMPER_PENDING) return false;
    target_.require(status);
    return true;
}

void Device::synchronize(int stream) const { target_.require(target_.backend.synchronize(device_, stream)); }

void Device::synchronize() const {
    for (int stream = 0; stream < TEMPER_STREAMS; stream++) synchronize(stream);
}

void Device::begin_capture(int stream) const { target_.require(target_.backend.begin_capture(device_, stream)); }

CapturedSegment Device::end_capture(int stream) const {
    TemperGraph* graph = nullptr;
    target_.require(target_.backend.end_capture(device_, stream, &graph));
    return {*this, graph};
}

void Device::launch(const CapturedSegment& segment, int stream) const { target_.require(target_.backend.launch(device_, segment.get(), stream)); }

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

DeviceMemory::~DeviceMemory() {
    if (at_) device_->target_.backend.release(device_->device_, at_);
}

} // namespace temper
