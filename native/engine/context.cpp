#include "context.hpp"

#include <algorithm>
#include <cstring>
#include <pthread.h>

namespace temper {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int POISON = 0xff; // every float of 0xff bytes is a NaN, in each dtype

} // namespace

Context::Context(int threads, std::string isa) : pool_(threads), isa_(std::move(isa)) {
    const std::vector<std::string> isas = available_isas();
    if (std::find(isas.begin(), isas.end(), isa_) == isas.end())
        throw std::invalid_argument("this CPU does not run the kernel set '" + isa_ + "'");
    thread_ = std::thread([this] { engine_loop(); });
    copier_ = std::thread([this] { copy_loop(); });
}

// --- Tensors ---------------------------------------------------------------------------------------------------------

void Context::require_open() const {
    if (closing_) throw std::runtime_error("the context is closed");
}

void Context::require_new(const std::string& name) const {
    require_open();
    if (tensors_.contains(name)) throw std::invalid_argument("the tensor '" + name + "' exists already: free it first");
}

void Context::allocate(const std::string& name, DType dtype, std::vector<int64_t> shape) {
    std::lock_guard lock(mutex_);
    require_new(name);
    tensors_.emplace(name, allocate_tensor(name, dtype, std::move(shape)));
}

void Context::map(const std::string& name, const std::string& file, size_t offset, DType dtype,
                  std::vector<int64_t> shape) {
    std::lock_guard lock(mutex_);
    require_new(name);
    tensors_.emplace(name, map_tensor(name, file, offset, dtype, std::move(shape)));
}

std::shared_ptr<NamedTensor> Context::find(const std::string& name) {
    require_open();
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw std::invalid_argument("there is no tensor '" + name + "'");
    return found->second;
}

void Context::free(const std::string& name) {
    std::lock_guard lock(mutex_);
    find(name);
    for (const auto& [id, plan] : plans_)
        if (plan->uses(name))
            throw std::invalid_argument("the tensor '" + name + "' is used by plan '" + plan->name() + "': unload it first");
    tensors_.erase(name);
}

// A tensor may be read while nothing queued writes it, and written while nothing queued touches it.
void Context::require_idle(const std::string& name, bool for_write) {
    auto copies = [&](const Job& job) {
        return std::any_of(job.tensors.begin(), job.tensors.end(), [&](const auto& tensor) { return tensor->name == name; });
    };
    bool busy = for_write && copying_ && copies(*copying_);
    for (const auto& job : queue_) {
        busy = busy || (job->plan && (for_write ? job->plan->uses(name) : job->plan->writes(name)));
        busy = busy || (for_write && copies(*job));
    }
    if (busy) throw std::runtime_error("the tensor '" + name + "' is in use by what is queued: await it first");
}

namespace {

void require_range(const NamedTensor& named, size_t offset, size_t bytes) {
    const size_t size = named.tensor.bytes();
    if (offset > size || bytes > size - offset)
        throw std::out_of_range("the tensor '" + named.name + "' has " + std::to_string(size) + " bytes, not " +
                                std::to_string(bytes) + " from offset " + std::to_string(offset));
}

} // namespace

void Context::write(const std::string& name, size_t offset, std::span<const std::byte> data) {
    std::lock_guard lock(mutex_);
    const auto named = find(name);
    if (!named->writable) throw std::invalid_argument("the tensor '" + name + "' is mapped from a file and read-only");
    require_range(*named, offset, data.size());
    require_idle(name, true);
    std::memcpy(named->tensor.as<char>() + offset, data.data(), data.size());
}

void Context::read(const std::string& name, size_t offset, size_t bytes, void* to) {
    std::lock_guard lock(mutex_);
    const auto named = find(name);
    require_range(*named, offset, bytes);
    require_idle(name, false);
    std::memcpy(to, named->tensor.as<char>() + offset, bytes);
}

size_t Context::tensor_bytes(const std::string& name) {
    std::lock_guard lock(mutex_);
    return find(name)->tensor.bytes();
}

// --- Plans -----------------------------------------------------------------------------------------------------------

Context::Loaded Context::load(std::string_view plan_json) {
    Plan plan = parse_plan(plan_json);
    std::lock_guard lock(mutex_);
    require_open();
    auto loaded = std::make_shared<LoadedPlan>(std::move(plan), isa_, pool_.threads(), [this](const std::string& name) {
        const auto found = tensors_.find(name);
        return found == tensors_.end() ? nullptr : found->second;
    });
    const int id = next_plan_++;
    plans_.emplace(id, loaded);
    return {id, loaded->arena_bytes(), loaded->workspace_bytes()};
}

std::shared_ptr<LoadedPlan> Context::plan_of(int id) {
    require_open();
    const auto found = plans_.find(id);
    if (found == plans_.end()) throw std::invalid_argument("plan " + std::to_string(id) + " is not loaded");
    return found->second;
}

void Context::unload(int id) {
    std::lock_guard lock(mutex_);
    const auto plan = plan_of(id);
    for (const auto& job : queue_)
        if (job->plan == plan)
            throw std::runtime_error("plan '" + plan->name() + "' has runs queued: await or abort them first");
    plans_.erase(id);
}

std::vector<OutputSlot> Context::outputs(int id, const std::string& program) {
    std::lock_guard lock(mutex_);
    const auto plan = plan_of(id);
    std::vector<OutputSlot> slots;
    for (size_t i : plan->program(program).outputs) slots.push_back({plan->buffer(i).name, plan->buffer(i).bytes});
    return slots;
}

// --- The queue -------------------------------------------------------------------------------------------------------

void Context::run(int id, const std::string& program, const Inputs& inputs, bool first, std::vector<void*> destinations,
                  Done done) {
    auto job = std::make_shared<Job>();
    std::lock_guard lock(mutex_);
    job->plan = plan_of(id);
    job->program = &job->plan->program(program);
    const std::string where = "plan '" + job->plan->name() + "' program '" + program + "'";
    for (size_t i : job->program->inputs) {
        const Buffer& slot = job->plan->buffer(i);
        const auto given = inputs.find(slot.name);
        if (given == inputs.end()) throw std::invalid_argument(where + " needs the input '" + slot.name + "'");
        if (given->second.size() != slot.bytes)
            throw std::invalid_argument(where + ": the input '" + slot.name + "' is " + describe(slot.dtype, slot.shape) +
                                        ", " + std::to_string(slot.bytes) + " bytes, but " +
                                        std::to_string(given->second.size()) + " were given");
        job->inputs.emplace_back(given->second.begin(), given->second.end());
        job->plan->check_input(program, i, job->inputs.back());
    }
    for (const auto& [name, data] : inputs) {
        const auto& slots = job->program->inputs;
        if (std::none_of(slots.begin(), slots.end(), [&](size_t i) { return job->plan->buffer(i).name == name; }))
            throw std::invalid_argument(where + " has no input '" + name + "'");
    }
    if (destinations.size() != job->program->outputs.size())
        throw std::invalid_argument(where + " has " + std::to_string(job->program->outputs.size()) + " outputs");
    job->first = first;
    job->destinations = std::move(destinations);
    job->done = std::move(done);
    enqueue(std::move(job));
}

void Context::prepare(Done done) {
    auto job = std::make_shared<Job>();
    std::lock_guard lock(mutex_);
    job->prepares = true;
    job->done = std::move(done);
    enqueue(std::move(job));
}

void Context::snapshot(const std::vector<std::string>& names, std::vector<void*> destinations, Done done) {
    auto job = std::make_shared<Job>();
    std::lock_guard lock(mutex_);
    for (const std::string& name : names) job->tensors.push_back(find(name));
    if (destinations.size() != names.size()) throw std::invalid_argument("a snapshot needs one destination per tensor");
    job->destinations = std::move(destinations);
    job->done = std::move(done);
    enqueue(std::move(job));
}

void Context::enqueue(std::shared_ptr<Job> job) {
    require_open();
    job->epoch = epoch_;
    queue_.push_back(std::move(job));
    wake_.notify_one();
}

void Context::abort() {
    epoch_++;
}

void Context::close() {
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
        epoch_++;
    }
    wake_.notify_one();
    copy_wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    if (copier_.joinable()) copier_.join();
    std::lock_guard lock(mutex_);
    plans_.clear();
    tensors_.clear();
}

// --- The engine thread -----------------------------------------------------------------------------------------------

void Context::engine_loop() {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "temper-engine");
#endif
    for (;;) {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
            if (queue_.empty()) break;
            job = queue_.front();
        }
        if (!job->prepares && !job->plan) {
            start_copy(std::move(job));
            continue;
        }
        std::string error;
        bool failed = false;
        try {
            execute(*job);
        } catch (const std::exception& caught) {
            failed = true;
            error = caught.what();
        }
        {
            std::lock_guard lock(mutex_);
            queue_.pop_front();
        }
        job->plan.reset(); // an unloaded plan's memory goes before its last run's promise resolves
        job->done(failed ? &error : nullptr);
    }
    copy_wake_.notify_all(); // nothing more will be handed over
    arena_ = Pages();
    workspace_ = Pages();
}

void Context::execute(Job& job) {
    if (epoch_ != job.epoch) throw std::runtime_error("aborted");
    if (job.prepares) {
        reserve();
        arena_.touch(pool_.threads());
        workspace_.touch(pool_.threads());
        return;
    }
    await_copy(*job.program);
    run_program(job);
    runs_++;
}

void Context::start_copy(std::shared_ptr<Job> snapshot) {
    std::unique_lock lock(mutex_);
    copy_wake_.wait(lock, [this] { return !copying_; });
    copying_ = std::move(snapshot);
    queue_.pop_front();
    copy_wake_.notify_all();
}

void Context::await_copy(const Program& program) {
    std::unique_lock lock(mutex_);
    copy_wake_.wait(lock, [&] {
        return !copying_ || std::none_of(copying_->tensors.begin(), copying_->tensors.end(),
                                         [&](const auto& tensor) { return program.written.contains(tensor->name); });
    });
}

void Context::copy_loop() {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "temper-copy");
#endif
    for (;;) {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            // The engine thread empties the queue before it ends, so closing with nothing queued is the end.
            copy_wake_.wait(lock, [this] { return copying_ || (closing_ && queue_.empty()); });
            if (!copying_) return;
            job = copying_;
        }
        std::string error;
        try {
            copy_tensors(*job);
        } catch (const std::exception& caught) {
            error = caught.what();
        }
        {
            std::lock_guard lock(mutex_);
            copying_ = nullptr;
        }
        copy_wake_.notify_all();
        job->done(error.empty() ? nullptr : &error);
    }
}

void Context::copy_tensors(const Job& job) {
    constexpr size_t PIECE = size_t{4} << 20; // bytes between two looks at abort()
    if (epoch_ != job.epoch) throw std::runtime_error("aborted");
    for (size_t i = 0; i < job.tensors.size(); i++) {
        const Tensor& tensor = job.tensors[i]->tensor;
        for (size_t at = 0; at < tensor.bytes(); at += PIECE) {
            if (epoch_ != job.epoch) throw std::runtime_error("aborted");
            std::memcpy(static_cast<char*>(job.destinations[i]) + at, tensor.as<char>() + at,
                        std::min(PIECE, tensor.bytes() - at));
        }
    }
}

void Context::reserve() {
    size_t arena = 0, workspace = 0;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [id, plan] : plans_) {
            arena = std::max(arena, plan->arena_bytes());
            workspace = std::max(workspace, plan->workspace_bytes());
        }
    }
    // The old range goes first: the two together may be more than there is.
    auto grow = [](Pages& pages, size_t bytes, const char* what) {
        if (pages.bytes() >= bytes) return;
        pages = Pages();
        pages = Pages::zeroed(bytes, what);
    };
    grow(arena_, arena, "the arena");
    grow(workspace_, workspace, "the workspace");
}

void Context::run_program(Job& job) {
    LoadedPlan& plan = *job.plan;
    const Program& program = *job.program;
    reserve();
    plan.bind(static_cast<char*>(arena_.data()), static_cast<char*>(workspace_.data()));
    for (size_t i = 0; i < program.inputs.size(); i++)
        std::memcpy(plan.slot(program.inputs[i]), job.inputs[i].data(), job.inputs[i].size());

    const bool poison = poison_;
    std::vector<Dead> dead;
    if (poison) {
        dead = plan.dead_ranges(program);
        if (arena_.bytes()) std::memset(arena_.data(), POISON, arena_.bytes());
    }
    auto next_dead = dead.begin();
    for (size_t r = program.records.from; r < program.records.to; r++) {
        if (epoch_ != job.epoch) throw std::runtime_error("aborted");
        if (poison && plan.workspace_of(r)) std::memset(workspace_.data(), POISON, plan.workspace_of(r));
        run_record(job, r);
        for (; next_dead != dead.end() && next_dead->record == r; ++next_dead)
            std::memset(static_cast<char*>(arena_.data()) + next_dead->offset, POISON, next_dead->bytes);
    }
    for (size_t i = 0; i < program.outputs.size(); i++)
        std::memcpy(job.destinations[i], plan.slot(program.outputs[i]), plan.buffer(program.outputs[i]).bytes);
}

void Context::run_record(Job& job, size_t r) {
    LoadedPlan& plan = *job.plan;
    const auto start = Clock::now();
    try {
        plan.run(r, job.first);
    } catch (const std::exception& error) {
        throw std::runtime_error("plan '" + plan.name() + "' record " + std::to_string(r) + " (" + plan.op_name(r) +
                                 "): " + error.what());
    }
    const auto end = Clock::now();
    records_++;
    if (plan.arena_end(r) > arena_high_) arena_high_ = plan.arena_end(r);
    if (!profiling_) return;
    std::lock_guard lock(profile_mutex_);
    OpTime& time = times_.try_emplace(plan.op_name(r), OpTime{plan.op_name(r), 0, 0}).first->second;
    time.runs++;
    time.seconds += std::chrono::duration<double>(end - start).count();
}

// --- Watching --------------------------------------------------------------------------------------------------------

Progress Context::progress() const {
    return {records_, runs_, arena_high_};
}

void Context::profile(bool on) {
    profiling_ = on;
    if (on) return;
    std::lock_guard lock(profile_mutex_);
    times_.clear();
}

std::vector<OpTime> Context::profile_times() {
    std::lock_guard lock(profile_mutex_);
    std::vector<OpTime> times;
    for (const auto& entry : times_) times.push_back(entry.second);
    return times;
}

} // namespace temper
