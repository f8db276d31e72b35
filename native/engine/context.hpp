// A context: named tensors, loaded plans, one engine thread that runs what is queued, in order, on the context's pool, and
// one thread that copies snapshots beside it. Every method may be called from any other thread.
#pragma once
#include "loaded_plan.hpp"
#include "thread_pool.hpp"

#include <atomic>
#include <chrono>
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

struct OpTime {
    std::string op;
    uint64_t runs;
    double seconds;
};

struct OutputSlot {
    std::string name;
    size_t bytes;
};

class Context {
public:
    // Called once, on one of the context's threads: with nothing when the job is done, otherwise with what went wrong.
    using Done = std::function<void(const std::string* error)>;
    using Inputs = std::map<std::string, std::span<const std::byte>>;

    Context(int threads, std::string isa);
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
    // and nothing is queued. Destinations, one per output slot, are written before `done` is called and must live until then.
    void run(int plan, const std::string& program, const Inputs& inputs, bool first, std::vector<void*> destinations,
             Done done);
    // Queues the allocation of arena and workspace for the plans that are loaded, with every page of them touched: what
    // the first run would otherwise do a page at a time.
    void prepare(Done done);
    // Queues a copy of whole tensors, as they are between what was queued before and after. It is made beside the programs
    // that follow: only one that writes one of these tensors waits for it. Destinations must live until `done` is called.
    void snapshot(const std::vector<std::string>& names, std::vector<void*> destinations, Done done);

    void abort();
    Progress progress() const;
    void profile(bool on);
    std::vector<OpTime> profile_times();
    void poison(bool on) { poison_ = on; }
    // Aborts what is queued, joins the engine thread and frees everything. Later calls throw.
    void close();

private:
    struct Job {
        bool prepares = false;
        std::shared_ptr<LoadedPlan> plan; // none: a snapshot of `tensors`
        const Program* program = nullptr;
        std::vector<std::vector<std::byte>> inputs; // as program->inputs
        bool first = false;
        std::vector<std::shared_ptr<NamedTensor>> tensors;
        std::vector<void*> destinations;
        Done done;
        uint64_t epoch = 0;
    };

    std::shared_ptr<NamedTensor> find(const std::string& name); // throws when there is none
    std::shared_ptr<LoadedPlan> plan_of(int plan);
    void require_open() const;
    void require_new(const std::string& name) const;
    void require_idle(const std::string& name, bool for_write);
    void enqueue(std::shared_ptr<Job> job);

    void engine_loop();
    void copy_loop();
    void start_copy(std::shared_ptr<Job> snapshot); // waits for the one before
    void await_copy(const Program& program);        // where it is of a tensor that the program writes
    void execute(Job& job);
    void run_program(Job& job);
    void copy_tensors(const Job& job);
    void reserve(); // arena and workspace for the loaded plans; both only grow
    void run_record(Job& job, size_t record);

    ThreadPool pool_; // the engine thread's
    const std::string isa_;

    std::mutex mutex_; // guards the next seven
    std::condition_variable wake_, copy_wake_;
    std::shared_ptr<Job> copying_; // the snapshot that the copying thread is at
    std::map<std::string, std::shared_ptr<NamedTensor>> tensors_;
    std::map<int, std::shared_ptr<LoadedPlan>> plans_;
    std::deque<std::shared_ptr<Job>> queue_; // the front one is being executed
    int next_plan_ = 1;
    bool closing_ = false;

    Pages arena_, workspace_; // the engine thread's

    std::atomic<uint64_t> epoch_{0}; // abort() ends the jobs of all epochs before
    std::atomic<bool> poison_{false}, profiling_{false};
    std::atomic<uint64_t> records_{0}, runs_{0}, arena_high_{0};
    std::mutex profile_mutex_;
    std::map<std::string, OpTime> times_;

    std::thread thread_, copier_;
};

} // namespace temper
