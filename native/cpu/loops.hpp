// The loops that kernels share: over the types of their tensors, over threads, and over the vectors of a row.
#pragma once
#include "kernel.hpp"
#include "simd.hpp"

#include <algorithm>
#include <utility>

namespace temper::TEMPER_ISA {

// Calls f with a pointer of the right type for each tensor (float* or bf16*), so that f is compiled for each mixture.
template <class F> void with_types(F&& f) { f(); }
template <class F, class... Rest> void with_types(F&& f, const Tensor& tensor, const Rest&... rest) {
    if (tensor.dtype == DType::f32)
        with_types([&](auto*... pointers) { f(tensor.as<float>(), pointers...); }, rest...);
    else
        with_types([&](auto*... pointers) { f(tensor.as<bf16>(), pointers...); }, rest...);
}

// Calls f for a weight, which may also be f16.
template <class F> void with_weight(F&& f, const Tensor& weight) {
    if (weight.dtype == DType::f16)
        f(weight.as<f16>());
    else
        with_types(f, weight);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Elements below which waking a thread costs more than it brings.
constexpr int64_t ELEMENTS_WORTH_A_TEAM = 32768;

// The threads to give an op that treats `elements` elements, a few operations each.
inline Threads threads_for(Threads threads, int64_t elements) {
    return elements < ELEMENTS_WORTH_A_TEAM ? Threads{} : threads;
}
inline Threads threads_for(const Call& call) { return threads_for(call.threads, call.out[0].elements()); }

// f(task) for each of `tasks` tasks. Tasks write disjoint memory, so results do not depend on who runs them.
template <class F> void parallel_for(Threads threads, int64_t tasks, F&& f) {
    constexpr int64_t CHUNKS_PER_THREAD = 16; // what others take over of a thread that is late, a part at a time
    const int64_t chunks = std::min(tasks, CHUNKS_PER_THREAD * threads.count);
    threads.run(chunks, [&](int64_t chunk, int) {
        for (int64_t i = tasks * chunk / chunks; i < tasks * (chunk + 1) / chunks; i++) f(i);
    });
}

// f(i, lanes) for each vector of [begin, end): lanes is Whole{}, and Part{n} for the tail.
template <class F> inline void each_vector(int64_t begin, int64_t end, F&& f) {
    int64_t i = begin;
    for (; i + VL <= end; i += VL) f(i, Whole{});
    if (i < end) f(i, Part{static_cast<int>(end - i)});
}

// The same over n elements and all threads, for ops that treat each element alone. Tasks are multiples of VL, so
// that lanes never depend on the number of threads, and large enough to be worth a thread.
template <class F> void each_vector_parallel(Threads threads, int64_t n, F&& f) {
    constexpr int64_t TASK = 8192;
    parallel_for(threads_for(threads, n), ceil_div(n, TASK),
                 [&](int64_t task) { each_vector(task * TASK, std::min(n, (task + 1) * TASK), f); });
}

} // namespace temper::TEMPER_ISA
