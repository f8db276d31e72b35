#include "thread_pool.hpp"

#include <stdexcept>
#include <string>
#include <system_error>
#include <time.h>
#include <unistd.h>
#include <utility>
#if defined(__linux__)
#include <pthread.h>
#endif

namespace temper {

namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

// How long a thread looks for what it waits for before it sleeps: longer than what most records leave between two
// regions, and than it takes to wake a thread; a small part of a time slice of the system's.
constexpr auto SPIN = 50us;

// What threads have spared their caller counts up to this much against what they cost it later: a hiccup or two.
constexpr nanoseconds MOST_CREDIT = 20ms;
// How many times what the others have cost the caller it then works alone: it loses a twentieth to the next attempt.
constexpr int ALONE = 20;

// Lets the core's other thread, and its clock, have the time.
void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Returns true as soon as done() does, false after SPIN.
template <class Condition> bool spin_until(Condition done) {
    constexpr int TURNS = 64; // between two looks at the clock
    const auto spin = [&] {
        for (int i = 0; i < TURNS; i++, relax())
            if (done()) return true;
        return false;
    };
    if (spin()) return true;
    for (const auto end = std::chrono::steady_clock::now() + SPIN; std::chrono::steady_clock::now() < end;)
        if (spin()) return true;
    return false;
}

// How long the calling thread has had a core.
nanoseconds computed() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

} // namespace

ThreadPool::ThreadPool(int threads)
    : shares_(static_cast<size_t>(std::max(1, threads))), process_(static_cast<int>(getpid())) {
    if (threads < 1) throw std::invalid_argument("a thread pool needs at least one thread");
    workers_.reserve(static_cast<size_t>(threads) - 1);
    try {
        for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { serve(thread); });
    } catch (const std::system_error& error) {
        close();
        throw std::runtime_error("cannot start " + std::to_string(threads) + " threads: " + error.what());
    }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::close() {
    closing_ = true;
    region_++;
    region_.notify_all();
    const bool forked = process_ != static_cast<int>(getpid());
    for (std::thread& worker : workers_) forked ? worker.detach() : worker.join();
}

void run_region(ThreadPool& pool, int team, int64_t chunks, void (*call)(const void*, int64_t, int), const void* body) {
    pool.run(team, chunks, {call, body});
}

void ThreadPool::run(int team, int64_t chunks, Body body) {
    if (chunks > UINT32_MAX) throw std::invalid_argument("a region of " + std::to_string(chunks) + " chunks is too large");
    if (running_.exchange(true)) throw std::logic_error("a region cannot begin within another of the same pool");
    struct Running {
        std::atomic<bool>& running;
        ~Running() { running = false; }
    } const until_returned{running_};
    const auto start = Clock::now();
    if (start < alone_until_) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) body.call(body.body, chunk, 0);
        return;
    }
    const nanoseconds before = computed();
    run_together(team, chunks, body);
    weigh(computed() - before + nanoseconds(worked_) - (Clock::now() - start));
    if (const std::exception_ptr error = std::exchange(error_, nullptr)) std::rethrow_exception(error);
}

void ThreadPool::run_together(int team, int64_t chunks, Body body) {
    const uint32_t region = region_.load(std::memory_order_relaxed) + 1;
    body_ = body;
    failed_.store(false, std::memory_order_relaxed);
    worked_.store(0, std::memory_order_relaxed);
    pending_.store(static_cast<uint32_t>(chunks), std::memory_order_relaxed);
    for (int thread = 0; thread < team; thread++) {
        Share& share = shares_[static_cast<size_t>(thread)];
        const int64_t begin = chunks * thread / team, end = chunks * (thread + 1) / team;
        share.end = static_cast<uint32_t>(end);
        share.left.store(static_cast<uint64_t>(region) << 32 | static_cast<uint64_t>(end - begin), std::memory_order_release);
    }
    team_.store(team, std::memory_order_relaxed);
    region_.store(region);
    region_.notify_all();
    work(0, team, region);
    await_chunks();
}

// Takes chunks of a region, the thread's own first, until none is left that has not been begun.
void ThreadPool::work(int thread, int team, uint32_t region) {
    const nanoseconds before = thread > 0 ? computed() : 0ns;
    uint32_t done = 0;
    for (int i = 0; i < team; i++) {
        Share& share = shares_[static_cast<size_t>((thread + i) % team)];
        uint64_t left = share.left.load(std::memory_order_acquire);
        while (left >> 32 == region && static_cast<uint32_t>(left) > 0) {
            if (!share.left.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire))
                continue;
            run_chunk(share.end - static_cast<uint32_t>(left), thread);
            done++;
            left = share.left.load(std::memory_order_acquire);
        }
    }
    if (done == 0) return;
    if (thread > 0) worked_.fetch_add((computed() - before).count(), std::memory_order_relaxed);
    if (pending_.fetch_sub(done) == done && thread > 0) pending_.notify_one();
}

void ThreadPool::run_chunk(uint32_t chunk, int thread) {
    try {
        if (!failed_.load(std::memory_order_relaxed)) body_.call(body_.body, chunk, thread);
    } catch (...) {
        if (!failed_.exchange(true)) error_ = std::current_exception();
    }
}

// Waits for the chunks that others are at work on.
void ThreadPool::await_chunks() {
    if (spin_until([this] { return pending_.load(std::memory_order_acquire) == 0; })) return;
    for (uint32_t pending; (pending = pending_.load(std::memory_order_acquire)) > 0;) pending_.wait(pending);
}

// `spared`: how much sooner a region ended than its caller would have ended it alone, on a core of its own.
void ThreadPool::weigh(nanoseconds spared) {
    credit_ = std::min(credit_ + spared, MOST_CREDIT);
    if (credit_ >= 0ns) return;
    alone_until_ = Clock::now() - ALONE * credit_;
    credit_ = 0ns;
}

void ThreadPool::serve(int thread) {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "temper-kernels");
#endif
    for (uint32_t seen = 0;;) {
        if (!spin_until([&] { return region_.load(std::memory_order_acquire) != seen; })) region_.wait(seen);
        seen = region_.load(std::memory_order_acquire);
        if (closing_) return;
        const int team = team_.load(std::memory_order_relaxed);
        if (thread < team) work(thread, team, seen);
    }
}

void await(const std::atomic<int32_t>& number, int32_t wanted) {
    if (spin_until([&] { return number.load(std::memory_order_acquire) == wanted; })) return;
    for (int32_t now; (now = number.load(std::memory_order_acquire)) != wanted;) number.wait(now);
}

void advance(std::atomic<int32_t>& number) {
    number.fetch_add(1);
    number.notify_all();
}

} // namespace temper
