// Gives a device the records of one run after another. It owns what all plans of a context share: the arena and the scratch.
#pragma once
#include "loaded_plan.hpp"

#include <atomic>
#include <functional>
#include <mutex>

namespace temper {

struct OpTime {
    std::string op;
    uint64_t runs;
    double seconds;
};

// How a run stands in its step.
struct MicroBatch {
    bool first = false; // records that accumulate after the first overwrite
    bool last = true;
};

// A program with what it takes and where its results go.
struct ProgramRun {
    std::shared_ptr<LoadedPlan> plan;
    const Program* program = nullptr;
    std::vector<std::vector<std::byte>> inputs; // as program->inputs
    MicroBatch micro_batch;
    std::vector<void*> destinations; // as program->outputs
};

class Executor {
public:
    explicit Executor(const Device& device) : device_(device) {}

    // The engine thread's: memory, and runs.

    // Arena and scratch of at least so many bytes; both only grow.
    void reserve(size_t arena_bytes, size_t workspace_bytes);
    void touch_memory(); // commits every page of both
    void bind(LoadedPlan& plan) { plan.bind(device_, arena_.at(), workspace_.at()); }
    void release_memory();
    // Enqueues the program's records. `between` is called before each record, or captured segment, and may throw to end the run.
    void run(ProgramRun& run, const std::function<void()>& between);

    // Any thread's.

    uint64_t records() const { return records_; }       // finished so far
    uint64_t arena_high() const { return arena_high_; } // largest arena byte touched so far, exclusive
    void profile(bool on);
    std::vector<OpTime> profile_times();
    void poison(bool on) { poison_ = on; }

private:
    void run_segment(ProgramRun& run, size_t segment, const std::function<void()>& between);
    void run_captured(ProgramRun& run, size_t segment);
    void run_record(ProgramRun& run, size_t record);
    void enqueue_record(ProgramRun& run, size_t record);
    void await_events(const LoadedPlan& plan, const Record& record);
    void signal_events(const LoadedPlan& plan, const Record& record);
    void count_record(const LoadedPlan& plan, size_t record);
    void poison_arena();
    void poison_dead(const ProgramRun& run, size_t record);

    const Device& device_;
    DeviceMemory arena_, workspace_;
    std::atomic<bool> poison_{false}, profiling_{false};
    std::atomic<uint64_t> records_{0}, arena_high_{0};
    std::mutex profile_mutex_;
    std::map<std::string, OpTime> times_;
};

} // namespace temper
