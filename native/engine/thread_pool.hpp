// The threads of the kernels. A region ends when its chunks are done, whether or not every thread came: one that shares
// its core with other work delays nobody unless it has begun a chunk. Where that happens so often that the calling
// thread would have been faster alone, regions are left to it alone for a while.
#pragma once
#include "threads.hpp"

#include <chrono>
#include <exception>
#include <thread>
#include <vector>

namespace temper {

class ThreadPool {
public:
    // `threads` counts the one that will begin regions; the others wait, asleep when there is nothing to do for long.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    Threads threads() { return {this, static_cast<int>(shares_.size())}; }

private:
    using Clock = std::chrono::steady_clock;

    struct Body {
        void (*call)(const void* body, int64_t chunk, int thread);
        const void* body;
    };

    // Chunks that are one thread's first of all. `left` holds the region's number in its upper half, so that a thread
    // that is late by a region or more finds nothing in it, and how many chunks are not begun in its lower half.
    struct alignas(64) Share {
        std::atomic<uint64_t> left{0};
        uint32_t end = 0; // after the last chunk; read by who has taken one, which keeps the region from ending
    };

    friend void run_region(ThreadPool&, int, int64_t, void (*)(const void*, int64_t, int), const void*);
    void run(int team, int64_t chunks, Body body);
    void run_together(int team, int64_t chunks, Body body);
    void work(int thread, int team, uint32_t region);
    void run_chunk(uint32_t chunk, int thread);
    void await_chunks();
    void weigh(std::chrono::nanoseconds spared);
    void serve(int thread);
    void close();

    std::vector<Share> shares_; // one for each thread
    Body body_{};
    std::exception_ptr error_;
    std::atomic<bool> running_{false}, failed_{false};
    std::chrono::nanoseconds credit_{0}; // what the other threads have spared the caller lately
    Clock::time_point alone_until_{};

    alignas(64) std::atomic<uint32_t> region_{0}; // the number of the newest; what idle threads wait for
    std::atomic<int> team_{0};                    // how many threads may take part in it
    std::atomic<bool> closing_{false};

    alignas(64) std::atomic<uint32_t> pending_{0}; // chunks of the region that are not done
    std::atomic<int64_t> worked_{0};               // nanoseconds that threads other than the caller computed in it

    int process_; // that has the workers: a fork has none
    std::vector<std::thread> workers_;
};

} // namespace temper
