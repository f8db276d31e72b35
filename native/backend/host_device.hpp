// A device whose memory and kernels are the host's: the CPU, and the fake device that stands in for a GPU in tests. They
// differ in when a stream runs what is enqueued on it.
#pragma once
#include "../cpu/kernel.hpp"
#include "../engine/memory.hpp"
#include "../engine/thread_pool.hpp"
#include "backend_error.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace temper {

enum class Order {
    at_once,       // every stream when it is enqueued
    downloads,     // downloads beside the rest, on a thread of their own; everything else at once
    compute_first, // nothing until the host waits; then one stream after another, each as far as its waits let it
    uploads_first, // the same, with uploads before the rest
};

// Faults that a test asks for.
struct Faults {
    std::optional<size_t> memory;       // bytes that may be allocated
    std::optional<uint64_t> lost_after, peer_lost_after; // records, after which the device, or another rank, is lost
    std::string without;                // an op that has no kernel
};

class HostDevice {
public:
    // `hides_memory`: addresses that the engine gets cannot be read or written; only this class can turn them back.
    struct Options {
        std::string isa;
        int threads = 1;
        Order order = Order::downloads;
        bool hides_memory = false;
        Faults faults = {};
    };

    explicit HostDevice(Options options);
    ~HostDevice();
    HostDevice(const HostDevice&) = delete;
    HostDevice& operator=(const HostDevice&) = delete;

    void* allocate(size_t bytes);
    void* load(const std::string& file, size_t offset, size_t bytes, size_t element);
    void release(void* at);
    size_t allocated() const { return allocated_; }

    void fill(void* at, int value, size_t bytes, int stream);
    void upload(void* to, const void* from, size_t bytes, int stream);
    void download(void* to, const void* from, size_t bytes, int stream);
    void copy(void* to, const void* from, size_t bytes, int stream);

    TemperCall* prepare(const TemperRecord& record, void* scratch);
    void enqueue(TemperCall& call, bool first, int stream);

    void events(uint32_t count);
    void record(uint32_t event, int stream);
    void wait(uint32_t event, int stream);
    bool reached(uint32_t event);
    void synchronize(int stream);

    void begin_capture(int stream);
    TemperGraph* end_capture(int stream);
    void launch(const TemperGraph& graph, int stream);

private:
    using Work = std::function<void()>;

    struct Event {
        uint64_t recorded = 0, reached = 0; // how often
    };
    // Work of a stream, or a mark on it: its event is then reached, or waited for, that many times.
    struct Item {
        enum class Kind { work, record, wait } kind;
        Work work;
        uint32_t event = 0;
        uint64_t times = 0;
    };
    struct Stream {
        std::deque<Item> queue;
        std::optional<std::vector<Work>> captured; // while it captures
    };

    bool is_lazy() const { return options_.order == Order::compute_first || options_.order == Order::uploads_first; }
    bool runs_at_once(int stream) const;
    template <class F> void submit(int stream, F&& work); // runs it, or queues it
    void push(int stream, Item item);
    void run_front(std::unique_lock<std::mutex>& lock, int stream);
    void reach(std::unique_lock<std::mutex>& lock, uint32_t event, uint64_t times);
    void run_all(std::unique_lock<std::mutex>& lock); // of a lazy device
    void serve_downloads();
    void require_sound() const;
    char* real(const void* address) const; // of memory of the device
    void* given(void* address) const;
    void run_record(TemperCall& call, bool first);

    const Options options_;
    ThreadPool pool_;
    std::mutex memory_mutex_;
    std::map<void*, Pages> memory_;
    size_t allocated_ = 0;
    uint64_t records_ = 0;

    std::mutex mutex_; // guards the next four
    std::condition_variable changed_;
    std::vector<Event> events_;
    Stream streams_[TEMPER_STREAMS];
    std::optional<BackendError> failure_; // the first, which every later call repeats
    bool busy_ = false, closing_ = false; // of the downloading thread
    std::thread downloader_;
};

// supports() of a host device. Throws BackendError UNSUPPORTED where the kernel set has no kernel.
void host_supports(const TemperRecord& record, const std::string& isa, int threads, const std::string& without, TemperNeeds* needs);

// The functions of a table for host devices, but for those that say which targets and devices there are, and open().
TemperBackend host_backend(const char* name);

// The status of the exception under way; its message becomes last_error().
TemperStatus status_of_exception();

template <class Work> TemperStatus guarded(const Work& work) {
    try {
        work();
        return TEMPER_OK;
    } catch (...) {
        return status_of_exception();
    }
}

} // namespace temper

struct TemperDevice : temper::HostDevice {
    using HostDevice::HostDevice;
};
struct TemperCall {
    temper::Call call;
    std::unique_ptr<temper::Prepared> prepared;
};
struct TemperGraph {
    std::vector<std::function<void()>> work;
};
