// Softmax and its loss over one row of logits: what cross_entropy and the linear_ ops share.
#pragma once
#include "../ops/cross_entropy.hpp"
#include "loops.hpp"
#include "math.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

// The greatest logit of a row and Σ exp(logit − greatest).
struct SoftmaxRow {
    float greatest;
    double sum;

    double log_probability(float logit) const { return static_cast<double>(logit) - greatest - std::log(sum); }
};

template <class T> SoftmaxRow softmax_row(const T* logits, int64_t vocabulary) {
    vf lanes = splat(-INFINITY);
    int64_t whole = vocabulary / VL * VL;
    for (int64_t j = 0; j < whole; j += VL) lanes = max(load(logits + j), lanes);
    float greatest = maximum(lanes);
    for (int64_t j = whole; j < vocabulary; j++) greatest = std::max(greatest, to_float(logits[j]));
    // Blocks of 1024 in float32, their sums in double: the error does not grow with the vocabulary.
    constexpr int64_t BLOCK = 1024;
    double total = 0;
    for (int64_t begin = 0; begin < vocabulary; begin += BLOCK) {
        const int64_t end = std::min(begin + BLOCK, vocabulary), vectors_end = begin + (end - begin) / VL * VL;
        vf sums = {};
        for (int64_t j = begin; j < vectors_end; j += VL) sums += exp(load(logits + j) - greatest);
        total += sum(sums);
        if (vectors_end < end) {
            float tail[VL] = {};
            store(tail, exp(load(logits + vectors_end, Part{static_cast<int>(end - vectors_end)}) - greatest));
            for (int64_t j = 0; j < end - vectors_end; j++) total += tail[j];
        }
    }
    return {greatest, total};
}

// d(−weight · log p(label)) / d logits = weight · (p − [j = label]). `gradient` may be where the logits are, also in a
// narrower type: an element is read before anything is written at or past it.
template <class T, class G>
void cross_entropy_gradient(const T* logits, int64_t vocabulary, const SoftmaxRow& row, int32_t label, float weight,
                            G* gradient) {
    const float scale = static_cast<float>(weight / row.sum);
    const double p = std::exp(row.log_probability(to_float(logits[label])));
    each_vector(0, vocabulary, [&](int64_t j, auto lanes) {
        store(gradient + j, exp(load(logits + j, lanes) - row.greatest) * splat(scale), lanes);
    });
    put(gradient + label, static_cast<float>(weight * (p - 1)));
}

// loss = weight · Σ losses [+ loss], the sum in double and in the order of the rows.
inline void add_up_loss(float* loss, const double* losses, int64_t rows, float weight, bool accumulate) {
    double total = 0;
    for (int64_t i = 0; i < rows; i++) total += losses[i];
    *loss = static_cast<float>(total * weight + (accumulate ? *loss : 0));
}

} // namespace temper::TEMPER_ISA
