#include "executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace temper {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int POISON = 0xff; // every float of 0xff bytes is a NaN, in each dtype

bool applies(const Record& record, MicroBatch micro_batch) {
    return record.when == When::always || (record.when == When::first ? micro_batch.first : micro_batch.last);
}

// How often a segment runs: as its input slot says.
int64_t turns_of(const ProgramRun& run, const Loop& loop) {
    const std::vector<size_t>& slots = run.program->inputs;
    const auto input = static_cast<size_t>(std::find(slots.begin(), slots.end(), loop.count) - slots.begin());
    int32_t turns = 0;
    std::memcpy(&turns, run.inputs[input].data(), sizeof turns);
    if (turns < 0 || turns > loop.max)
        throw std::out_of_range("plan '" + run.plan->name() + "': the loop count '" + run.plan->buffer(loop.count).name + "' is " +
                                std::to_string(turns) + "; it must lie in [0, " + std::to_string(loop.max) + "]");
    return turns;
}

} // namespace

// --- Memory ------------------------------------------------------------------------------------------------------------

void Executor::reserve(size_t arena_bytes, size_t workspace_bytes) {
    if (arena_.bytes() >= arena_bytes && workspace_.bytes() >= workspace_bytes) return;
    device_.synchronize();
    // The old range goes first: the two together may be more than there is.
    const auto grow = [this](DeviceMemory& memory, size_t bytes, const char* what) {
        if (memory.bytes() >= bytes) return;
        memory = DeviceMemory();
        memory = device_.allocate(bytes, what);
    };
    grow(arena_, arena_bytes, "the arena");
    grow(workspace_, workspace_bytes, "the workspace");
}

void Executor::touch_memory() {
    if (arena_.bytes()) device_.fill(arena_.at(), 0, arena_.bytes(), TEMPER_COMPUTE);
    if (workspace_.bytes()) device_.fill(workspace_.at(), 0, workspace_.bytes(), TEMPER_COMPUTE);
    device_.synchronize(TEMPER_COMPUTE);
}

void Executor::release_memory() {
    arena_ = DeviceMemory();
    workspace_ = DeviceMemory();
}

// --- Records -----------------------------------------------------------------------------------------------------------

void Executor::run(ProgramRun& run, const std::function<void()>& between) {
    bind(*run.plan);
    if (poison_) poison_arena();
    for (size_t s = run.program->segments.from; s < run.program->segments.to; s++) {
        const auto& loop = run.plan->segment(s).loop;
        const int64_t turns = loop ? turns_of(run, *loop) : 1;
        for (int64_t turn = 0; turn < turns; turn++) run_segment(run, s, between);
    }
}

void Executor::run_segment(ProgramRun& run, size_t segment, const std::function<void()>& between) {
    if (device_.target().captures() && !poison_ && !profiling_ && run.plan->can_capture(segment)) {
        between();
        return run_captured(run, segment);
    }
    const Range records = run.plan->segment(segment).records;
    for (size_t r = records.from; r < records.to; r++) {
        between();
        if (applies(run.plan->record(r), run.micro_batch)) run_record(run, r);
    }
}

// What any of its records waits for is waited for first, and what any signals is signalled last.
void Executor::run_captured(ProgramRun& run, size_t segment) {
    LoadedPlan& plan = *run.plan;
    const Range records = plan.segment(segment).records;
    std::unique_ptr<CapturedSegment>& captured = plan.captured(segment, run.micro_batch.first, run.micro_batch.last);
    const auto each = [&](auto work) {
        for (size_t r = records.from; r < records.to; r++)
            if (applies(plan.record(r), run.micro_batch)) work(r);
    };
    each([&](size_t r) { await_events(plan, plan.record(r)); });
    if (!captured) {
        device_.begin_capture(TEMPER_COMPUTE);
        each([&](size_t r) { enqueue_record(run, r); });
        captured = std::make_unique<CapturedSegment>(device_.end_capture(TEMPER_COMPUTE));
    }
    device_.launch(*captured, TEMPER_COMPUTE);
    each([&](size_t r) {
        signal_events(plan, plan.record(r));
        count_record(plan, r);
    });
}

void Executor::run_record(ProgramRun& run, size_t r) {
    LoadedPlan& plan = *run.plan;
    const Record& record = plan.record(r);
    const auto start = Clock::now();
    if (poison_ && plan.checked(r).scratch) device_.fill(workspace_.at(), POISON, plan.checked(r).scratch, record.stream);
    await_events(plan, record);
    try {
        enqueue_record(run, r);
        if (profiling_) device_.synchronize(record.stream);
    } catch (const BackendError& error) {
        throw BackendError(error.status, "plan '" + plan.name() + "' " + record.describe(r) + ": " + error.what());
    }
    signal_events(plan, record);
    count_record(plan, r);
    if (poison_) poison_dead(run, r);
    if (!profiling_) return;
    std::lock_guard lock(profile_mutex_);
    OpTime& time = times_.try_emplace(record.op, OpTime{record.op, 0, 0}).first->second;
    time.runs++;
    time.seconds += std::chrono::duration<double>(Clock::now() - start).count();
}

void Executor::enqueue_record(ProgramRun& run, size_t r) {
    LoadedPlan& plan = *run.plan;
    const int stream = plan.record(r).stream;
    const auto position = [](const std::vector<size_t>& slots, size_t slot) { // they ascend
        return static_cast<size_t>(std::lower_bound(slots.begin(), slots.end(), slot) - slots.begin());
    };
    switch (plan.checked(r).kind) {
    case CheckedRecord::Kind::kernel:
        device_.enqueue(plan.prepared(r), run.micro_batch.first, stream);
        break;
    case CheckedRecord::Kind::upload:
        for (const Move& move : plan.moves(r))
            device_.upload(plan.address(move.to), run.inputs[position(run.program->inputs, move.from)].data(), move.bytes, stream);
        break;
    case CheckedRecord::Kind::copy:
        for (const Move& move : plan.moves(r)) device_.copy(plan.address(move.to), plan.address(move.from), move.bytes, stream);
        break;
    case CheckedRecord::Kind::download:
        for (const Move& move : plan.moves(r))
            device_.download(run.destinations[position(run.program->outputs, move.to)], plan.address(move.from), move.bytes, stream);
        break;
    }
}

void Executor::await_events(const LoadedPlan& plan, const Record& record) {
    for (size_t event : record.waits) device_.wait(plan.first_event + static_cast<uint32_t>(event), record.stream);
}

void Executor::signal_events(const LoadedPlan& plan, const Record& record) {
    for (size_t event : record.signals) device_.record(plan.first_event + static_cast<uint32_t>(event), record.stream);
}

void Executor::count_record(const LoadedPlan& plan, size_t r) {
    records_++;
    if (plan.checked(r).arena_end > arena_high_) arena_high_ = plan.checked(r).arena_end;
}

// --- Watching ----------------------------------------------------------------------------------------------------------

void Executor::poison_arena() {
    device_.synchronize();
    if (arena_.bytes()) device_.fill(arena_.at(), POISON, arena_.bytes(), TEMPER_COMPUTE);
    device_.synchronize();
}

void Executor::poison_dead(const ProgramRun& run, size_t r) {
    device_.synchronize();
    for (const Range& dead : run.program->dead[r - run.program->records.from])
        device_.fill(arena_.at(dead.from), POISON, dead.to - dead.from, run.plan->record(r).stream);
    device_.synchronize();
}

void Executor::profile(bool on) {
    profiling_ = on;
    if (on) return;
    std::lock_guard lock(profile_mutex_);
    times_.clear();
}

std::vector<OpTime> Executor::profile_times() {
    std::lock_guard lock(profile_mutex_);
    std::vector<OpTime> times;
    for (const auto& entry : times_) times.push_back(entry.second);
    return times;
}

} // namespace temper
