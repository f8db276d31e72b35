// What a region of the pool costs, and what several threads gain over one, on a quiet machine and beside others' work:
//     pool_bench [threads] [spinning processes]
// One thread and all take turns, so what else the machine does hits both alike: read the ratios, not the times.
#include "../engine/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace temper;

namespace {

constexpr int CHUNKS = 16, FLOATS = 4096, PAIRS = 31;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class F> double seconds(F f) {
    const double start = now();
    f();
    return now() - start;
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
    return values[values.size() / 2];
}

struct Work {
    std::vector<float> data = std::vector<float>(CHUNKS * FLOATS, 1.0f);
    int rounds;

    [[gnu::noinline]] void operator()(int64_t chunk) {
        float* from = data.data() + chunk * FLOATS;
        for (int round = 0; round < rounds; round++)
            for (int i = 0; i < FLOATS; i++) from[i] = from[i] * 0.999f + 0.001f;
    }
};

// Regions one after another, as the records of a plan are.
double regions(Threads threads, Work& work, int count) {
    return seconds([&] {
        for (int region = 0; region < count; region++) threads.run(CHUNKS, [&](int64_t chunk, int) { work(chunk); });
    });
}

void compare(Threads threads, int rounds) {
    Work work{.rounds = rounds};
    const Threads one = threads.at_most(1);
    const double single = regions(one, work, 20) / 20;
    const int count = std::max(3, static_cast<int>(0.02 / single));
    std::vector<double> ratios, alone, together;
    for (int pair = 0; pair < PAIRS; pair++) {
        const double first = regions(pair % 2 ? threads : one, work, count), second = regions(pair % 2 ? one : threads, work, count);
        alone.push_back((pair % 2 ? second : first) / count);
        together.push_back((pair % 2 ? first : second) / count);
        ratios.push_back(together.back() / alone.back());
    }
    std::printf("  %8.1f µs on one thread %8.1f µs on %d: %.2f × of one thread's time\n", median(alone) * 1e6,
                median(together) * 1e6, threads.count, median(ratios));
    std::fflush(stdout);
}

void measure(Threads threads) {
    constexpr int EMPTY = 2000;
    std::vector<double> empty;
    for (int i = 0; i < PAIRS; i++)
        empty.push_back(seconds([&] {
                            for (int region = 0; region < EMPTY; region++) threads.run(CHUNKS, [](int64_t, int) {});
                        }) / EMPTY);
    std::printf("  an empty region: %.2f µs\n", median(empty) * 1e6);
    for (int rounds : {2, 6, 20, 60, 200}) compare(threads, rounds);
}

pid_t start_spinning() {
    const pid_t parent = getpid(), child = fork();
    if (child != 0) return child;
    while (getppid() == parent)
        for (int i = 0; i < 1'000'000; i++) asm volatile("");
    _exit(0);
}

} // namespace

int main(int argc, char** argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 2, spinning = argc > 2 ? std::atoi(argv[2]) : 2;
    ThreadPool pool(threads);
    std::printf("as it is:\n");
    measure(pool.threads());
    std::vector<pid_t> others;
    for (int i = 0; i < spinning; i++) others.push_back(start_spinning());
    std::printf("beside %d spinning processes:\n", spinning);
    measure(pool.threads());
    for (pid_t other : others) kill(other, SIGKILL), waitpid(other, nullptr, 0);
}
