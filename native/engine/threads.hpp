// What kernels know of the thread pool.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

namespace temper {

class ThreadPool;

// What an op may compute on: `count` threads of a pool, the calling one among them, or that one alone.
struct Threads {
    ThreadPool* pool = nullptr;
    int count = 1;

    Threads at_most(int64_t limit) const { return {pool, static_cast<int>(std::clamp<int64_t>(limit, 1, count))}; }

    // A region: calls body(chunk, thread) once for every chunk of [0, chunks), thread being the number within [0, count)
    // of the thread that calls; whoever called run() is 0. Each thread begins with its own run of consecutive chunks,
    // the same in every region of that many, and then takes over what others have not begun. Chunks may go to any
    // thread, and to one alone, so what they compute must not depend on it; they are begun in order if it is 0 alone.
    // The first exception of a chunk is rethrown when the region has ended; chunks not begun by then are left out.
    // Throws std::logic_error within a region of the same pool.
    template <class Body> void run(int64_t chunks, const Body& body) const;
};

// Threads::run for at least two threads and chunks, with the body's type erased.
void run_region(ThreadPool& pool, int team, int64_t chunks, void (*call)(const void* body, int64_t chunk, int thread),
                const void* body);

template <class Body> void Threads::run(int64_t chunks, const Body& body) const {
    const int team = at_most(chunks).count;
    if (team == 1) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) body(chunk, 0);
        return;
    }
    const auto call = [](const void* erased, int64_t chunk, int thread) {
        (*static_cast<const Body*>(erased))(chunk, thread);
    };
    run_region(*pool, team, chunks, call, &body);
}

// For chunks that follow each other: wait until the number is `wanted`, and count it up. One that waits long sleeps.
void await(const std::atomic<int32_t>& number, int32_t wanted);
void advance(std::atomic<int32_t>& number);

} // namespace temper
