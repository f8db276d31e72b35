#include "host_device.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#if defined(__linux__)
#include <pthread.h>
#endif

namespace temper {

namespace {

// Added to a hidden address: no process has memory there.
constexpr uintptr_t HIDDEN = uintptr_t{1} << 62;

// Bytes up to which a download is not worth a thread.
constexpr size_t SMALL = size_t{64} << 10;

thread_local std::string last_message;

DType dtype_of(TemperDType dtype) { return static_cast<DType>(dtype); }

Tensor tensor_of(const TemperTensor& tensor) {
    return {dtype_of(tensor.dtype), {tensor.shape, tensor.shape + tensor.rank}, tensor.data};
}

Attr attribute_of(const TemperAttribute& attribute) {
    switch (attribute.type) {
    case TEMPER_NUMBER: return attribute.number;
    case TEMPER_FLAG: return attribute.number != 0;
    case TEMPER_TEXT: return std::string(attribute.text);
    case TEMPER_NUMBERS: return std::vector<double>(attribute.numbers, attribute.numbers + attribute.count);
    case TEMPER_FLAGS: break;
    }
    std::vector<bool> flags;
    for (uint32_t i = 0; i < attribute.count; i++) flags.push_back(attribute.numbers[i] != 0);
    return flags;
}

Call call_of(const TemperRecord& record, Threads threads) {
    Call call;
    for (uint32_t i = 0; i < record.inputs; i++) call.in.push_back(tensor_of(record.input[i]));
    for (uint32_t i = 0; i < record.outputs; i++) call.out.push_back(tensor_of(record.output[i]));
    call.attrs.op = record.op;
    for (uint32_t i = 0; i < record.attributes; i++)
        call.attrs.values.emplace(record.attribute[i].key, attribute_of(record.attribute[i]));
    call.threads = threads;
    return call;
}

const Kernel& kernel_of(const std::string& op, const std::string& isa, const std::string& without) {
    const Kernel* kernel = op == without ? nullptr : find_kernel(isa, op);
    if (kernel) return *kernel;
    throw BackendError(TEMPER_UNSUPPORTED, "the kernel set '" + isa + "' has no kernel for it");
}

} // namespace

HostDevice::HostDevice(Options options) : options_(std::move(options)), pool_(options_.threads) {
    if (options_.order == Order::downloads) downloader_ = std::thread([this] { serve_downloads(); });
}

HostDevice::~HostDevice() {
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
    }
    changed_.notify_all();
    if (downloader_.joinable()) downloader_.join();
}

// --- Memory ----------------------------------------------------------------------------------------------------------

char* HostDevice::real(const void* address) const {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(address) - (options_.hides_memory ? HIDDEN : 0));
}

void* HostDevice::given(void* address) const {
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(address) + (options_.hides_memory ? HIDDEN : 0));
}

void* HostDevice::allocate(size_t bytes) {
    std::lock_guard lock(memory_mutex_);
    if (options_.faults.memory && allocated_ + bytes > *options_.faults.memory)
        throw BackendError(TEMPER_OUT_OF_MEMORY, "cannot allocate " + std::to_string(bytes) + " bytes: " + std::to_string(allocated_) +
                                                    " of " + std::to_string(*options_.faults.memory) + " are in use");
    Pages pages = Pages::zeroed(std::max<size_t>(bytes, 1));
    void* at = given(pages.data());
    memory_.emplace(at, std::move(pages));
    allocated_ += bytes;
    return at;
}

void* HostDevice::load(const std::string& file, size_t offset, size_t bytes, size_t element) {
    const InputFile input(file);
    input.require(offset, bytes);
    Pages pages;
    if (offset % element == 0) {
        pages = Pages::mapped(input.descriptor(), offset, bytes);
    } else {
        pages = Pages::zeroed(bytes);
        input.read(pages.data(), offset, bytes);
    }
    std::lock_guard lock(memory_mutex_);
    void* at = given(pages.data());
    memory_.emplace(at, std::move(pages));
    allocated_ += bytes;
    return at;
}

void HostDevice::release(void* at) {
    std::lock_guard lock(memory_mutex_);
    const auto memory = memory_.find(at);
    if (memory == memory_.end()) throw BackendError(TEMPER_INVALID, "releases what was not allocated");
    allocated_ -= memory->second.bytes();
    memory_.erase(memory);
}

// --- Streams ---------------------------------------------------------------------------------------------------------

bool HostDevice::runs_at_once(int stream) const {
    if (options_.order == Order::downloads) return stream != TEMPER_DOWNLOAD;
    return options_.order == Order::at_once;
}

void HostDevice::require_sound() const {
    if (failure_) throw *failure_;
}

template <class F> void HostDevice::submit(int stream, F&& work) {
    if (runs_at_once(stream) && !streams_[stream].captured) return work();
    std::lock_guard lock(mutex_);
    require_sound();
    if (streams_[stream].captured) streams_[stream].captured->push_back(std::forward<F>(work));
    else push(stream, {Item::Kind::work, std::forward<F>(work)});
}

void HostDevice::push(int stream, Item item) {
    streams_[stream].queue.push_back(std::move(item));
    if (downloader_.joinable()) changed_.notify_all();
}

// Runs the oldest item of a stream. The lock is let go of where other threads may have to go on meanwhile.
void HostDevice::run_front(std::unique_lock<std::mutex>& lock, int stream) {
    std::deque<Item>& queue = streams_[stream].queue;
    Item item = std::move(queue.front());
    queue.pop_front();
    try {
        if (item.kind == Item::Kind::wait) {
            if (is_lazy()) reach(lock, item.event, item.times);
            else changed_.wait(lock, [&] { return events_[item.event].reached >= item.times; });
        } else if (item.kind == Item::Kind::record) {
            events_[item.event].reached = std::max(events_[item.event].reached, item.times);
        } else if (!failure_) {
            if (options_.order == Order::downloads) {
                lock.unlock();
                item.work();
                lock.lock();
            } else {
                item.work();
            }
        }
    } catch (const BackendError& error) {
        if (!lock.owns_lock()) lock.lock();
        if (!failure_) failure_.emplace(error);
    } catch (const std::exception& error) {
        if (!lock.owns_lock()) lock.lock();
        if (!failure_) failure_.emplace(TEMPER_INVALID, error.what());
    }
}

// Runs, of the stream that records the event, what comes before.
void HostDevice::reach(std::unique_lock<std::mutex>& lock, uint32_t event, uint64_t times) {
    while (events_[event].reached < times) {
        int stream = 0;
        const auto records = [&](const Item& item) {
            return item.kind == Item::Kind::record && item.event == event && item.times >= times;
        };
        while (stream < TEMPER_STREAMS && std::none_of(streams_[stream].queue.begin(), streams_[stream].queue.end(), records)) stream++;
        if (stream == TEMPER_STREAMS) throw BackendError(TEMPER_INVALID, "event " + std::to_string(event) + " is never reached");
        run_front(lock, stream);
    }
}

void HostDevice::run_all(std::unique_lock<std::mutex>& lock) {
    const auto run = [&](int stream) {
        while (!streams_[stream].queue.empty()) run_front(lock, stream);
    };
    if (options_.order == Order::uploads_first) run(TEMPER_UPLOAD);
    for (int stream = 0; stream < TEMPER_STREAMS; stream++) run(stream);
}

void HostDevice::serve_downloads() {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "temper-copy");
#endif
    std::unique_lock lock(mutex_);
    std::deque<Item>& queue = streams_[TEMPER_DOWNLOAD].queue;
    for (;;) {
        changed_.wait(lock, [&] { return closing_ || !queue.empty(); });
        if (queue.empty()) return;
        busy_ = true;
        run_front(lock, TEMPER_DOWNLOAD);
        busy_ = false;
        changed_.notify_all();
    }
}

void HostDevice::fill(void* at, int value, size_t bytes, int stream) {
    constexpr size_t PIECE = size_t{8} << 20;
    submit(stream, [=, this, to = real(at)] {
        pool_.threads().run(static_cast<int64_t>((bytes + PIECE - 1) / PIECE), [&](int64_t piece, int) {
            const size_t from = static_cast<size_t>(piece) * PIECE;
            std::memset(to + from, value, std::min(PIECE, bytes - from));
        });
    });
}

void HostDevice::upload(void* to, const void* from, size_t bytes, int stream) {
    submit(stream, [=, at = real(to)] { std::memcpy(at, from, bytes); });
}

void HostDevice::download(void* to, const void* from, size_t bytes, int stream) {
    const auto work = [=, at = real(from)] { std::memcpy(to, at, bytes); };
    if (options_.order == Order::downloads && stream == TEMPER_DOWNLOAD && bytes <= SMALL) {
        std::lock_guard lock(mutex_);
        if (!busy_ && streams_[stream].queue.empty()) return work();
    }
    submit(stream, work);
}

void HostDevice::copy(void* to, const void* from, size_t bytes, int stream) {
    submit(stream, [=, at = real(to), source = real(from)] { std::memcpy(at, source, bytes); });
}

// --- Records ---------------------------------------------------------------------------------------------------------

TemperCall* HostDevice::prepare(const TemperRecord& record, void* scratch) {
    const Kernel& kernel = kernel_of(record.op, options_.isa, options_.faults.without);
    auto call = std::make_unique<TemperCall>();
    call->call = call_of(record, pool_.threads());
    for (auto* side : {&call->call.in, &call->call.out})
        for (Tensor& tensor : *side) tensor.data = real(tensor.data);
    call->call.workspace = real(scratch);
    call->prepared = kernel.prepare(call->call);
    return call.release();
}

void HostDevice::enqueue(TemperCall& call, bool first, int stream) {
    submit(stream, [this, &call, first] { run_record(call, first); });
}

void HostDevice::run_record(TemperCall& call, bool first) {
    const auto& [memory, lost_after, peer_lost_after, without] = options_.faults;
    const uint64_t before = records_++;
    if (lost_after && before >= *lost_after)
        throw BackendError(TEMPER_DEVICE_LOST, "the device was lost after " + std::to_string(*lost_after) + " records");
    if (peer_lost_after && before >= *peer_lost_after)
        throw BackendError(TEMPER_PEER_LOST, "another rank was lost after " + std::to_string(*peer_lost_after) + " records");
    call.prepared->run(first);
}

void host_supports(const TemperRecord& record, const std::string& isa, int threads, const std::string& without, TemperNeeds* needs) {
    const Kernel& kernel = kernel_of(record.op, isa, without);
    if (needs) *needs = {kernel.workspace(call_of(record, {nullptr, threads})), 1};
}

// --- Events ----------------------------------------------------------------------------------------------------------

void HostDevice::events(uint32_t count) {
    std::lock_guard lock(mutex_);
    if (events_.size() < count) events_.resize(count);
}

void HostDevice::record(uint32_t event, int stream) {
    std::lock_guard lock(mutex_);
    require_sound();
    Event& state = events_.at(event);
    state.recorded++;
    const bool done = runs_at_once(stream) || (options_.order == Order::downloads && !busy_ && streams_[stream].queue.empty());
    if (!done) return push(stream, {Item::Kind::record, {}, event, state.recorded});
    state.reached = state.recorded;
    changed_.notify_all();
}

void HostDevice::wait(uint32_t event, int stream) {
    std::unique_lock lock(mutex_);
    require_sound();
    const uint64_t times = events_.at(event).recorded;
    if (events_[event].reached >= times) return;
    if (runs_at_once(stream)) changed_.wait(lock, [&] { return events_[event].reached >= times; });
    else push(stream, {Item::Kind::wait, {}, event, times});
}

bool HostDevice::reached(uint32_t event) {
    std::unique_lock lock(mutex_);
    const Event& state = events_.at(event);
    if (is_lazy()) run_all(lock);
    require_sound();
    return state.reached >= state.recorded;
}

void HostDevice::synchronize(int stream) {
    std::unique_lock lock(mutex_);
    if (is_lazy()) run_all(lock);
    else if (!runs_at_once(stream))
        changed_.wait(lock, [&] { return !busy_ && streams_[stream].queue.empty(); });
    require_sound();
}

// --- Capture ---------------------------------------------------------------------------------------------------------

void HostDevice::begin_capture(int stream) {
    std::lock_guard lock(mutex_);
    if (streams_[stream].captured) throw BackendError(TEMPER_INVALID, "the stream is captured already");
    streams_[stream].captured.emplace();
}

TemperGraph* HostDevice::end_capture(int stream) {
    std::lock_guard lock(mutex_);
    if (!streams_[stream].captured) throw BackendError(TEMPER_INVALID, "the stream is not captured");
    auto graph = std::make_unique<TemperGraph>();
    graph->work = std::move(*streams_[stream].captured);
    streams_[stream].captured.reset();
    return graph.release();
}

void HostDevice::launch(const TemperGraph& graph, int stream) {
    submit(stream, [&graph] {
        for (const Work& work : graph.work) work();
    });
}

// --- The table -------------------------------------------------------------------------------------------------------

TemperStatus status_of_exception() {
    try {
        throw;
    } catch (const BackendError& error) {
        last_message = error.what();
        return error.status;
    } catch (const OutOfMemory& error) {
        last_message = error.what();
        return TEMPER_OUT_OF_MEMORY;
    } catch (const std::bad_alloc&) {
        last_message = "the host is out of memory";
        return TEMPER_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        last_message = error.what();
        return TEMPER_INVALID;
    }
}

TemperBackend host_backend(const char* name) {
    TemperBackend table{};
    table.abi = TEMPER_BACKEND_ABI;
    table.bytes = sizeof table;
    table.name = name;
    table.last_error = [] { return last_message.c_str(); };
    table.close = [](TemperDevice* device) { delete device; };
    table.memory = [](TemperDevice* device, size_t* free, size_t* total) {
        return guarded([&] {
            *total = physical_memory();
            *free = *total - std::min(*total, device->allocated());
        });
    };
    table.allocate = [](TemperDevice* device, size_t bytes, void** at) { return guarded([&] { *at = device->allocate(bytes); }); };
    table.load = [](TemperDevice* device, const char* file, uint64_t offset, size_t bytes, size_t element, void** at) {
        return guarded([&] { *at = device->load(file, offset, bytes, element); });
    };
    table.release = [](TemperDevice* device, void* at) { return guarded([&] { device->release(at); }); };
    table.fill = [](TemperDevice* device, void* at, int value, size_t bytes, int32_t stream) {
        return guarded([&] { device->fill(at, value, bytes, stream); });
    };
    table.upload = [](TemperDevice* device, void* to, const void* from, size_t bytes, int32_t stream) {
        return guarded([&] { device->upload(to, from, bytes, stream); });
    };
    table.download = [](TemperDevice* device, void* to, const void* from, size_t bytes, int32_t stream) {
        return guarded([&] { device->download(to, from, bytes, stream); });
    };
    table.copy = [](TemperDevice* device, void* to, const void* from, size_t bytes, int32_t stream) {
        return guarded([&] { device->copy(to, from, bytes, stream); });
    };
    table.prepare = [](TemperDevice* device, const TemperRecord* record, void* scratch, TemperCall** call) {
        return guarded([&] { *call = device->prepare(*record, scratch); });
    };
    table.discard = [](TemperDevice*, TemperCall* call) { delete call; };
    table.enqueue = [](TemperDevice* device, TemperCall* call, int32_t first, int32_t stream) {
        return guarded([&] { device->enqueue(*call, first != 0, stream); });
    };
    table.events = [](TemperDevice* device, uint32_t count) { return guarded([&] { device->events(count); }); };
    table.record = [](TemperDevice* device, uint32_t event, int32_t stream) {
        return guarded([&] { device->record(event, stream); });
    };
    table.wait = [](TemperDevice* device, uint32_t event, int32_t stream) { return guarded([&] { device->wait(event, stream); }); };
    table.query = [](TemperDevice* device, uint32_t event) {
        bool reached = false;
        const TemperStatus status = guarded([&] { reached = device->reached(event); });
        return status == TEMPER_OK && !reached ? TEMPER_PENDING : status;
    };
    table.synchronize = [](TemperDevice* device, int32_t stream) { return guarded([&] { device->synchronize(stream); }); };
    table.begin_capture = [](TemperDevice* device, int32_t stream) { return guarded([&] { device->begin_capture(stream); }); };
    table.end_capture = [](TemperDevice* device, int32_t stream, TemperGraph** graph) {
        return guarded([&] { *graph = device->end_capture(stream); });
    };
    table.launch = [](TemperDevice* device, TemperGraph* graph, int32_t stream) {
        return guarded([&] { device->launch(*graph, stream); });
    };
    table.drop = [](TemperDevice*, TemperGraph* graph) { delete graph; };
    return table;
}

} // namespace temper
