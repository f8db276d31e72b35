// A context: named tensors, loaded plans, and one engine thread that gives a device what is queued, in order. Every method may
// be called from any other thread.
#pragma once
#include "executor.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <thread>

namespace temper {

struct Progress {
    uint64_t records;        // finished since the context was made
    uint64_t runs;           // finished since the context was made
    uint64_t arena_high;     // largest arena byte touched so far, exclusive
};

struct OutputSlot {
    std::string name;
    size_t bytes;
};

// Why a job ended without a result.
struct Failure {
    std::string message;
    TemperStatus status; // TEMPER_OK where the device is not to blame
};

class Context {
public:
    // Called once, on the engine thread: with nothing when the job is done, otherwise with what went wrong.
    using Done = std::function<void(const Failure* failure)>;
    using Inputs = std::map<std::string, std::span<const std::byte>>;

    Context(const Target& target, const std::string& device);
    ~Context() { close(); }

    void allocate(const std::string& name, DType dtype, std::vector<int64_t> shape);
    void map(const std::string& name, const std::string& file, size_t offset, DType dtype, std::vector<int64_t> shape);
    void free(const std::string& name);
    void write(const std::string& name, size_t offset, std::span<const std::byte> data);
    void read(const std::string& name, size_t offset, size_t bytes, void* to);
    size_t tensor_bytes(const std::string& name);

    struct Loaded {
        int plan;
        size_t arena_bytes, workspace_bytes;
    };
    Loaded load(std::string_view plan_json);
    void unload(int plan);

    std::vector<OutputSlot> outputs(int plan, const std::string& program);
    // Queues a program. Inputs are copied and checked before this returns: one that an op of the program cannot take throws,
    // and nothing is queued; so does a program that may not come next in the plan's step. Destinations, one per output slot,
    // are written before `done` is called and must live until then.
    void run(int plan, const std::string& program, const Inputs& inputs, MicroBatch micro_batch, std::vector<void*> destinations,
             Done done);
    // Queues the allocation of arena and workspace for the plans that are loaded, with every page of them written, and
    // the preparation of their records: what their first runs would otherwise do.
    void prepare(Done done);

    void abort();
    Progress progress() const;
    void profile(bool on) { executor_.profile(on); }
    std::vector<OpTime> profile_times() { return executor_.profile_times(); }
    void poison(bool on) { executor_.poison(on); }
    // Aborts what is queued, joins the engine thread and frees everything. Later calls throw.
    void close();

private:
    // Without a plan it prepares those that are loaded.
    struct Job : ProgramRun {
        Done done;
        uint64_t epoch = 0;
        bool is_issued = false;
        std::vector<uint32_t> ends; // once issued: events that are reached when it is done
    };

    std::shared_ptr<NamedTensor> find(const std::string& name); // throws when there is none
    std::shared_ptr<LoadedPlan> plan_of(int plan);
    void require_open() const;
    void require_new(const std::string& name) const;
    void require_idle(const std::string& name, bool for_write);
    void enqueue(std::shared_ptr<Job> job);

    // The engine thread.
    void engine_loop();
    void issue(const std::shared_ptr<Job>& job); // gives it to the device
    void settle();                               // ends what the device has done
    void drain();                                // waits for all that the device has
    void await_others(const Job& job);           // what must not run beside it
    void end(const std::shared_ptr<Job>& job, const Failure* failure);
    bool is_aborted(const Job& job) const { return job.epoch != epoch_; }
    void prepare_plans();
    void reserve();
    void run_program(Job& job);
    void mark_end(Job& job);
    uint32_t new_events(size_t count);

    Device device_;

    std::mutex mutex_; // guards the next five
    std::condition_variable wake_;
    std::map<std::string, std::shared_ptr<NamedTensor>> tensors_;
    std::map<int, std::shared_ptr<LoadedPlan>> plans_;
    std::deque<std::shared_ptr<Job>> queue_; // not begun yet
    std::vector<std::shared_ptr<Job>> begun_; // not ended yet, oldest first; only the engine thread changes it
    bool closing_ = false;
    int next_plan_ = 1;

    Executor executor_;
    std::vector<uint32_t> free_events_; // the engine thread's

    std::mutex events_mutex_;
    uint32_t events_ = 0;
    std::atomic<uint64_t> epoch_{0}; // abort() ends the jobs of all epochs before
    std::atomic<uint64_t> runs_{0};

    std::thread thread_;
};

} // namespace temper
