// The pool: each chunk once, and no region that waits for a thread without work, fails to end or outlives its pool.
#include "../engine/thread_pool.hpp"

#include "check.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace temper;

namespace {

// The other threads of this process, stopped wherever they are until release() is called.
class StoppedThreads {
  public:
    StoppedThreads() {
        released = false;
        std::signal(SIGUSR1, [](int) {
            stopped++;
            while (!released) usleep(1000);
            stopped--;
        });
        int count = 0;
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
            const int thread = std::stoi(entry.path().filename().string());
            if (thread != getpid() && syscall(SYS_tgkill, getpid(), thread, SIGUSR1) == 0) count++;
        }
        while (stopped < count) usleep(100);
    }
    ~StoppedThreads() { release(); }
    void release() {
        released = true;
        while (stopped > 0) usleep(100);
    }

  private:
    static inline std::atomic<bool> released{false};
    static inline std::atomic<int> stopped{0};
};

// Runs body and returns false when it had to be helped, by release(), after ten seconds.
bool ends_unaided(const std::function<void()>& body, const std::function<void()>& release) {
    std::atomic<bool> over{false}, helped{false};
    std::thread watch([&] {
        for (int i = 0; i < 1000 && !over; i++) usleep(10'000);
        if (over) return;
        helped = true;
        release();
    });
    body();
    over = true;
    watch.join();
    return !helped;
}

} // namespace

TEST(every_chunk_is_done_once) {
    for (int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        for (int64_t chunks : {0, 1, 2, 3, 7, 64, 1000}) {
            std::vector<std::atomic<int>> done(static_cast<size_t>(chunks));
            pool.threads().run(chunks, [&](int64_t chunk, int) { done[static_cast<size_t>(chunk)]++; });
            for (const auto& times : done) CHECK_EQ(times.load(), 1);
        }
    }
}

TEST(thousands_of_short_regions_lose_no_chunk) {
    ThreadPool pool(4);
    int64_t sum = 0;
    for (int64_t region = 0; region < 20'000; region++) {
        int64_t parts[8] = {};
        pool.threads().run(8, [&](int64_t chunk, int) { parts[chunk] = region + chunk; });
        for (int64_t part : parts) sum += part;
    }
    CHECK_EQ(sum, 8 * (20'000 * 19'999 / 2) + 20'000 * 28);
}

TEST(no_two_chunks_run_under_one_thread_number_at_a_time) {
    ThreadPool pool(4);
    std::atomic<bool> taken[4] = {};
    std::atomic<int> collisions{0};
    for (int region = 0; region < 200; region++)
        pool.threads().run(64, [&](int64_t, int thread) {
            if (taken[thread].exchange(true)) collisions++;
            for (int i = 0; i < 100; i++) asm volatile("");
            taken[thread] = false;
        });
    CHECK_EQ(collisions.load(), 0);
}

TEST(a_region_of_fewer_threads_uses_no_others) {
    ThreadPool pool(4);
    std::atomic<int> beyond{0};
    for (int region = 0; region < 200; region++)
        pool.threads().at_most(2).run(64, [&](int64_t, int thread) { beyond += thread > 1; });
    CHECK_EQ(beyond.load(), 0);
}

TEST(a_region_ends_while_the_other_threads_are_stopped) {
    ThreadPool pool(3);
    int done = 0;
    StoppedThreads others;
    CHECK(ends_unaided([&] { pool.threads().run(48, [&](int64_t, int) { done++; }); }, [&] { others.release(); }));
    CHECK_EQ(done, 48);
}

TEST(a_region_waits_for_a_chunk_that_another_thread_has_begun) {
    ThreadPool pool(2);
    std::atomic<bool> begun{false}, first_is_done{false}, second_is_done{false};
    pool.threads().run(2, [&](int64_t chunk, int) {
        if (chunk == 0) { // the caller's
            while (!begun) std::this_thread::yield();
            first_is_done = true;
            return;
        }
        begun = true;
        while (!first_is_done) std::this_thread::yield();
        usleep(20'000); // longer than the caller spins: it must be woken
        second_is_done = true;
    });
    CHECK(second_is_done);
}

TEST(an_exception_of_any_chunk_reaches_the_caller) {
    ThreadPool pool(3);
    for (int64_t failing : {0, 31, 63}) {
        CHECK_THROWS((pool.threads().run(64, [&](int64_t chunk, int) {
                         if (chunk == failing) throw std::runtime_error("chunk " + std::to_string(failing));
                     }), 0),
                     "chunk " + std::to_string(failing));
    }
    int done = 0;
    pool.threads().at_most(1).run(3, [&](int64_t, int) { done++; });
    CHECK_EQ(done, 3);
    std::atomic<int> all{0};
    pool.threads().run(64, [&](int64_t, int) { all++; });
    CHECK_EQ(all.load(), 64);
}

TEST(a_region_within_a_region_is_refused) {
    ThreadPool pool(2);
    CHECK_THROWS((pool.threads().run(2, [&](int64_t, int) { pool.threads().run(2, [](int64_t, int) {}); }), 0),
                 "a region cannot begin within another of the same pool");
}

TEST(threads_that_get_no_core_are_left_out_for_a_while) {
    ThreadPool pool(2);
    std::atomic<bool> begun{false};
    pool.threads().run(2, [&](int64_t, int thread) {
        while (thread == 0 && !begun) std::this_thread::yield();
        begun = true;
        if (thread == 1) usleep(50'000); // on no core
    });
    int others = 0;
    pool.threads().run(64, [&](int64_t, int thread) { others += thread; });
    CHECK_EQ(others, 0);
    // A second later they may try again, and with work to do for long, they come.
    std::atomic<bool> came{false};
    for (int i = 0; i < 1000 && !came; i++) {
        pool.threads().run(2, [&](int64_t, int thread) { thread == 1 ? came = true : usleep(10'000) == 0; });
    }
    CHECK(came);
}

TEST(chunks_that_follow_each_other_wait_awake_and_asleep) {
    ThreadPool pool(2);
    std::atomic<int32_t> turn{0};
    std::vector<int64_t> order;
    std::atomic<int64_t> next{0};
    pool.threads().run(2, [&](int64_t, int) {
        for (int64_t task = next++; task < 40; task = next++) {
            if (task % 10 == 0) usleep(2000);
            await(turn, static_cast<int32_t>(task));
            order.push_back(task);
            advance(turn);
        }
    });
    CHECK_EQ(order.size(), 40u);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST(a_pool_needs_a_thread) {
    CHECK_THROWS(ThreadPool(0), "a thread pool needs at least one thread");
}

TEST(a_pool_ends_at_once_whether_its_threads_spin_or_sleep) {
    for (int pause : {0, 100, 20'000})
        for (int i = 0; i < 20; i++) {
            ThreadPool pool(4);
            pool.threads().run(8, [](int64_t, int) {});
            usleep(static_cast<useconds_t>(pause));
        }
}

TEST(a_fork_has_the_calling_thread_and_ends) {
    ThreadPool pool(3);
    pool.threads().run(8, [](int64_t, int) {});
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        int done = 0;
        {
            ThreadPool* inherited = &pool;
            inherited->threads().run(16, [&](int64_t, int) { done++; });
            inherited->~ThreadPool();
        }
        _exit(done == 16 ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
