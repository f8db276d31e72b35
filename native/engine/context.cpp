#include "context.hpp"

#include "memory.hpp"

#include <algorithm>
#include <chrono>
#include <pthread.h>

namespace temper {

Context::Context(const Target& target, const std::string& device) : device_(target, device), executor_(device_) {
    thread_ = std::thread([this] { engine_loop(); });
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
    const std::string what = "the tensor '" + name + "'";
    DeviceMemory memory = device_.allocate(checked_bytes(what, dtype, shape), what);
    tensors_.emplace(name, std::make_shared<NamedTensor>(name, dtype, std::move(shape), std::move(memory)));
}

void Context::map(const std::string& name, const std::string& file, size_t offset, DType dtype,
                  std::vector<int64_t> shape) {
    std::lock_guard lock(mutex_);
    require_new(name);
    const std::string what = "the tensor '" + name + "'";
    DeviceMemory memory = device_.load(file, offset, checked_bytes(what, dtype, shape), bytes_of(dtype), what);
    tensors_.emplace(name, std::make_shared<NamedTensor>(name, dtype, std::move(shape), std::move(memory), false));
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
    auto busies = [&](const std::shared_ptr<Job>& job) {
        if (!job->plan) return false;
        return job->program->writes.contains(name) || (for_write && job->program->reads.contains(name));
    };
    if (std::any_of(queue_.begin(), queue_.end(), busies) || std::any_of(begun_.begin(), begun_.end(), busies))
        throw std::runtime_error("the tensor '" + name + "' is in use by what is queued: await it first");
}

namespace {

void require_range(const NamedTensor& named, size_t offset, size_t bytes) {
    const size_t size = named.memory.bytes();
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
    device_.upload(named->memory.at(offset), data.data(), data.size(), TEMPER_HOST_ACCESS);
    device_.synchronize(TEMPER_HOST_ACCESS);
}

void Context::read(const std::string& name, size_t offset, size_t bytes, void* to) {
    std::lock_guard lock(mutex_);
    const auto named = find(name);
    require_range(*named, offset, bytes);
    require_idle(name, false);
    device_.download(to, named->memory.at(offset), bytes, TEMPER_HOST_ACCESS);
    device_.synchronize(TEMPER_HOST_ACCESS);
}

size_t Context::tensor_bytes(const std::string& name) {
    std::lock_guard lock(mutex_);
    return find(name)->memory.bytes();
}

// --- Plans -----------------------------------------------------------------------------------------------------------

Context::Loaded Context::load(std::string_view plan_json) {
    Plan plan = parse_plan(plan_json);
    std::lock_guard lock(mutex_);
    require_open();
    auto loaded = std::make_shared<LoadedPlan>(std::move(plan), device_.target(), [this](const std::string& name) {
        const auto tensor = tensors_.find(name);
        return tensor == tensors_.end() ? nullptr : tensor->second;
    });
    loaded->first_event = new_events(loaded->events());
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
    const auto runs = [&](const std::shared_ptr<Job>& job) { return job->plan == plan; };
    if (std::any_of(queue_.begin(), queue_.end(), runs) || std::any_of(begun_.begin(), begun_.end(), runs))
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

void Context::run(int id, const std::string& program, const Inputs& inputs, MicroBatch micro_batch, std::vector<void*> destinations,
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
    job->plan->require_next(program);
    job->plan->advance(program);
    job->micro_batch = micro_batch;
    job->destinations = std::move(destinations);
    job->done = std::move(done);
    enqueue(std::move(job));
}

void Context::prepare(Done done) {
    auto job = std::make_shared<Job>();
    std::lock_guard lock(mutex_);
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
    if (thread_.joinable()) thread_.join();
    std::lock_guard lock(mutex_);
    plans_.clear();
    tensors_.clear();
}

uint32_t Context::new_events(size_t count) {
    std::lock_guard lock(events_mutex_);
    const uint32_t first = events_;
    events_ += static_cast<uint32_t>(count);
    device_.events(events_);
    return first;
}

// --- The engine thread -----------------------------------------------------------------------------------------------

void Context::engine_loop() {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "temper-engine");
#endif
    // Where streams run beside the host, so many jobs are given to the device before the first is waited for.
    const size_t ahead = device_.target().runs_beside() ? 8 : SIZE_MAX;
    const auto can_begin = [&] { return !queue_.empty() && begun_.size() < ahead; };
    for (;;) {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            if (begun_.empty()) wake_.wait(lock, [&] { return closing_ || can_begin(); });
            else wake_.wait_for(lock, std::chrono::microseconds(200), can_begin);
            if (queue_.empty() && begun_.empty()) break;
            if (can_begin()) {
                job = queue_.front();
                queue_.pop_front();
                begun_.push_back(job);
            }
        }
        if (job) issue(job);
        if (!job || !device_.target().runs_beside()) settle();
    }
    executor_.release_memory();
}

void Context::issue(const std::shared_ptr<Job>& job) {
    Failure failure{"", TEMPER_OK};
    try {
        if (is_aborted(*job)) throw std::runtime_error("aborted");
        if (!job->plan) {
            drain();
            prepare_plans();
            return end(job, nullptr);
        }
        await_others(*job);
        run_program(*job);
        mark_end(*job);
        return;
    } catch (const BackendError& error) {
        failure = {error.what(), error.status};
    } catch (const std::exception& error) {
        failure.message = error.what();
    }
    // Nothing of it may still write to a destination when it is said to have ended.
    try {
        device_.synchronize();
    } catch (const std::exception&) {
        // The failure is known already.
    }
    end(job, &failure);
}

void Context::settle() {
    const std::vector<std::shared_ptr<Job>> begun = begun_;
    for (const auto& job : begun) {
        if (!job->is_issued) continue;
        Failure failure{"", TEMPER_OK};
        try {
            if (!std::all_of(job->ends.begin(), job->ends.end(), [this](uint32_t event) { return device_.reached(event); })) continue;
            end(job, nullptr);
            continue;
        } catch (const BackendError& error) {
            failure = {error.what(), error.status};
        }
        end(job, &failure);
    }
}

void Context::end(const std::shared_ptr<Job>& job, const Failure* failure) {
    {
        std::lock_guard lock(mutex_);
        begun_.erase(std::find(begun_.begin(), begun_.end(), job));
        if (failure && job->plan) job->plan->restart_step();
    }
    if (!failure && job->plan) runs_++;
    free_events_.insert(free_events_.end(), job->ends.begin(), job->ends.end());
    job->plan.reset(); // an unloaded plan's memory goes before its last run's promise resolves
    job->done(failure);
}

void Context::drain() {
    device_.synchronize();
    settle();
}

// A plan says what of itself may run beside what. What of another plan is still running is waited for where it uses the arena as
// well, or a tensor that one of the two writes.
void Context::await_others(const Job& job) {
    const Program& program = *job.program;
    const auto meets = [](const std::set<std::string>& a, const std::set<std::string>& b) {
        return std::any_of(a.begin(), a.end(), [&](const std::string& name) { return b.contains(name); });
    };
    const auto conflicts = [&](const std::shared_ptr<Job>& other) {
        if (!other->plan || other->plan == job.plan) return false;
        const Program& running = *other->program;
        return (running.uses_arena && program.uses_arena) || meets(running.writes, program.reads) ||
               meets(running.writes, program.writes) || meets(running.reads, program.writes);
    };
    if (std::any_of(begun_.begin(), begun_.end(), conflicts)) device_.synchronize();
}

void Context::mark_end(Job& job) {
    for (int stream : job.program->streams) {
        if (free_events_.empty()) free_events_.push_back(new_events(1));
        const uint32_t event = free_events_.back();
        free_events_.pop_back();
        device_.record(event, stream);
        job.ends.push_back(event);
    }
    job.is_issued = true;
}

void Context::prepare_plans() {
    reserve();
    executor_.touch_memory();
    std::vector<std::shared_ptr<LoadedPlan>> plans;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [id, plan] : plans_) plans.push_back(plan);
    }
    for (const auto& plan : plans) executor_.bind(*plan);
}

// Arena and scratch as large as the largest loaded plan needs.
void Context::reserve() {
    size_t arena = 0, workspace = 0;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [id, plan] : plans_) {
            arena = std::max(arena, plan->arena_bytes());
            workspace = std::max(workspace, plan->workspace_bytes());
        }
    }
    executor_.reserve(arena, workspace);
}

void Context::run_program(Job& job) {
    reserve();
    executor_.run(job, [&] {
        if (is_aborted(job)) throw std::runtime_error("aborted");
        if (begun_.size() > 1 && !device_.target().runs_beside()) settle();
    });
}

// --- Watching --------------------------------------------------------------------------------------------------------

Progress Context::progress() const {
    return {executor_.records(), runs_, executor_.arena_high()};
}

} // namespace temper
