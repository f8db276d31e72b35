// The matrix product of every op: y = Σᵢ alphaᵢ · op(aᵢ) · op(bᵢ) [+ bias] [+ residual] [+ y], M×N.
//
// Nothing is prepacked and nothing but y is written: weights stay where they are (mapped files, float32 masters), and
// each thread packs the panels it multiplies into its own scratch, converting them to the compute type on the way.
// All products of a tile are added in registers, so a LoRA layer or the gradient of a shared input is one pass over y.
//
// Every element of y is computed by one thread, in an order that K alone decides: the same bits on any number of
// threads.
#pragma once
#include "kernel.hpp"

#include <memory>
#include <vector>

#ifndef TEMPER_ISA
#error "TEMPER_ISA names the kernel set: portable, avx2, avx512, avx512_bf16"
#endif

namespace temper::TEMPER_ISA {

// A row-major matrix with `ld` elements from row to row; trans: op() is its transpose.
struct Factor {
    const void* data;
    DType dtype; // f32, bf16 or f16
    int64_t ld;
    bool trans = false;
};

struct Product {
    Factor a;    // op(a): (M, K)
    Factor b;    // op(b): (K, N)
    int64_t k;
    float alpha = 1; // 0: the product is skipped, whatever its factors hold
};

struct Output {
    void* data = nullptr;     // (M, N)
    DType dtype = DType::f32; // f32 or bf16
    int64_t ld = 0;
    bool accumulate = false;         // add to what y holds; f32 only; run() sets it
    const void* bias = nullptr;      // (N), f32, bf16 or f16
    DType bias_dtype = DType::f32;
    const void* residual = nullptr;  // (M, N), f32 or bf16
    DType residual_dtype = DType::f32;
    int64_t residual_ld = 0;
};

struct Gemm {
    int64_t m, n;
    std::vector<Product> products = {};
    Output y = {};
    Compute compute;
    Threads threads;
};

// Bytes of scratch gemm() needs; a function of shapes, dtypes and threads, never of data.
size_t gemm_scratch(const Gemm&);

// A product made ready: which thread computes which part in which order is decided, so that run() allocates nothing.
class PreparedGemm {
  public:
    // `scratch` is 64-byte aligned.
    PreparedGemm(Gemm gemm, void* scratch);
    PreparedGemm(PreparedGemm&&) noexcept;
    ~PreparedGemm();

    // Other rows, and another length of a single product: for those that are known only when it runs. Allocates nothing
    // when it has been resized to the same before.
    void resize(int64_t m, int64_t k);
    // With `accumulate`, adds to what y holds.
    void run(bool accumulate);

    struct Plan;

  private:
    std::unique_ptr<Plan> plan;
};

} // namespace temper::TEMPER_ISA
