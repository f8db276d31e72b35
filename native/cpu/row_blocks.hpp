// Sums over the rows of a [T, N] matrix in two stages, in an order that depends on T alone: fixed blocks of rows are
// summed each into a row of `partials`, then the partial rows are added in their order.
#pragma once
#include "loops.hpp"

namespace temper::TEMPER_ISA {

struct RowBlocks {
    int64_t rows;  // in a block; the last may have fewer
    int64_t count;

    explicit RowBlocks(int64_t T) : rows(std::max<int64_t>(16, ceil_div(T, 64))), count(ceil_div(T, rows)) {}
    size_t partial_bytes(int64_t N) const { return static_cast<size_t>(count * N) * sizeof(float); }
};

// y (+)= Σ of the `count` rows of partials [count, N].
inline void sum_partials(Threads threads, const float* partials, int64_t count, int64_t N, float* y, bool accumulate) {
    constexpr int64_t WIDTH = 128;
    parallel_for(threads, ceil_div(N, WIDTH), [=](int64_t block) {
        each_vector(block * WIDTH, std::min(N, (block + 1) * WIDTH), [=](int64_t i, auto lanes) {
            vf total{};
            for (int64_t b = 0; b < count; b++) total += load(partials + b * N + i, lanes);
            store(y + i, accumulate ? load(y + i, lanes) + total : total, lanes);
        });
    });
}

} // namespace temper::TEMPER_ISA
