// The rates of the matrix products of SmolLM2-135M (D 576, F 1536, V 49152; T 1024 tokens), in GFLOP/s, beside what
// the CPU's multiply-add units give: `gemm_bench [threads] [isa]`. The peak is measured in between, so that both
// numbers of a line saw the same clock and the same neighbours.
#include "../cpu/kernel.hpp"
#include "../engine/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace temper;

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Memory for one tensor, filled with numbers in [-1, 1).
struct Buffer {
    std::unique_ptr<void, void (*)(void*)> memory;
    Tensor tensor;
    Buffer(DType dtype, std::vector<int64_t> shape) : memory(nullptr, std::free), tensor{dtype, std::move(shape), nullptr} {
        memory.reset(std::aligned_alloc(64, (tensor.bytes() + 63) / 64 * 64));
        tensor.data = memory.get();
        std::minstd_rand random(7);
        std::uniform_real_distribution<float> uniform(-1, 1);
        for (int64_t i = 0; i < tensor.elements(); i++) {
            const float x = uniform(random);
            uint32_t bits;
            std::memcpy(&bits, &x, 4);
            if (dtype == DType::f32) tensor.as<float>()[i] = x;
            if (dtype == DType::bf16) tensor.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
            if (dtype == DType::i32) tensor.as<int32_t>()[i] = static_cast<int32_t>(i % 1000);
        }
    }
};

#if defined(__x86_64__)
// One multiply-add per accumulator and turn, with 24 of them.
template <bool BF16> [[gnu::target("avx512f,avx512bf16")]] void multiply_and_add(int64_t turns) {
    __m512 sums[24];
#pragma GCC unroll 24
    for (int i = 0; i < 24; i++) sums[i] = _mm512_setzero_ps();
    __m512 a = _mm512_set1_ps(1e-3f);
    for (int64_t t = 0; t < turns; t++)
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++) {
            if constexpr (BF16)
                asm volatile("vdpbf16ps %1, %1, %0" : "+v"(sums[i]) : "v"(a));
            else
                asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sums[i]) : "v"(a));
        }
}
// GFLOP/s of all threads.
template <bool BF16> double avx512_peak(Threads threads) {
    constexpr int64_t TURNS = 400'000;
    const double start = now();
    threads.run(threads.count, [](int64_t, int) { multiply_and_add<BF16>(TURNS); });
    return (BF16 ? 4.0 : 2.0) * 16 * 24 * TURNS * threads.count / (now() - start) / 1e9;
}
double peak(const std::string& isa, bool bf16, Threads threads) {
    if (isa == "avx512_bf16") return bf16 ? avx512_peak<true>(threads) : avx512_peak<false>(threads);
    return 0;
}
#else
double peak(const std::string&, bool, Threads) { return 0; }
#endif

// The best of several samples: the others had neighbours.
template <class F> double best_seconds(F f) {
    double best = 1e9;
    const double stop = now() + 0.4;
    for (int i = 0; i < 4 || now() < stop; i++) {
        const double start = now();
        f();
        best = std::min(best, now() - start);
    }
    return best;
}

struct Runner {
    std::string isa;
    Threads threads;

    void run(const char* label, const char* name, std::map<std::string, Attr> attrs, std::vector<Buffer*> in,
             std::vector<Buffer*> out, double flops) {
        const Kernel* kernel = find_kernel(isa, name);
        const bool bf16 = std::get<std::string>(attrs.at("compute")) == "bf16";
        Call call{{{}, {}, {name, std::move(attrs)}}, threads, nullptr};
        for (Buffer* b : in) call.in.push_back(b->tensor);
        for (Buffer* b : out) call.out.push_back(b->tensor);
        find_rules(name)->check(call);
        const size_t bytes = (kernel->workspace(call) + 63) / 64 * 64;
        std::unique_ptr<void, void (*)(void*)> workspace(std::aligned_alloc(64, bytes), std::free);
        call.workspace = workspace.get();
        const auto prepared = kernel->prepare(call);
        const double limit = std::max(peak(isa, bf16, threads), peak(isa, bf16, threads));
        const double seconds = best_seconds([&] { prepared->run(false); });
        std::printf("%-58s %9.3f ms %7.0f GFLOP/s", label, seconds * 1e3, flops / seconds / 1e9);
        if (limit > 0) std::printf("  of %5.0f: %3.0f %%", limit, flops / seconds / 1e7 / limit);
        std::printf("   scratch %.1f MB\n", static_cast<double>(bytes) / 1e6);
        std::fflush(stdout);
    }

    void matmul(const char* what, const char* compute, int64_t m, int64_t n, int64_t k, bool trans_a, bool trans_b,
                DType a, DType b, DType y, const char* accumulate = "never") {
        Buffer left(a, trans_a ? std::vector{k, m} : std::vector{m, k});
        Buffer right(b, trans_b ? std::vector{n, k} : std::vector{k, n});
        Buffer result(y, {m, n});
        char label[96];
        std::snprintf(label, sizeof label, "%-4s %-24s M %5ld N %5ld K %5ld", compute, what, static_cast<long>(m),
                      static_cast<long>(n), static_cast<long>(k));
        run(label, "matmul",
            {{"compute", std::string(compute)}, {"trans_a", std::vector{trans_a}}, {"trans_b", std::vector{trans_b}},
             {"alpha", std::vector{1.0}}, {"bias", false}, {"residual", false}, {"accumulate", std::string(accumulate)}},
            {&left, &right}, {&result}, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
    }
};

constexpr DType F32 = DType::f32, BF16 = DType::bf16;
constexpr int64_t T = 1024, D = 576, F = 1536, G = 192, V = 49152, R = 16, CHUNK = 512;

void layers(Runner& r, const char* compute, DType activations, DType weights) {
    for (auto [n, k] : {std::pair{D, D}, {F, D}, {D, F}, {G, D}}) {
        r.matmul("forward x.Wt", compute, T, n, k, false, true, activations, weights, activations);
        r.matmul("dX = dY.W", compute, T, k, n, false, false, activations, weights, activations);
        r.matmul("dW = dYt.X", compute, n, k, T, true, false, activations, activations, F32);
        r.matmul("dW accumulated", compute, n, k, T, true, false, activations, activations, F32, "always");
    }
}

void low_rank(Runner& r) {
    r.matmul("u = x.At", "bf16", T, R, D, false, true, BF16, F32, BF16);
    r.matmul("du = dY.B", "bf16", T, R, F, false, false, BF16, F32, BF16);
    r.matmul("dA = dUt.X", "bf16", R, D, T, true, false, BF16, BF16, F32);
    r.matmul("dB = dYt.U", "bf16", F, R, T, true, false, BF16, BF16, F32);
    r.matmul("one row (decoding)", "bf16", 1, F, D, false, true, BF16, BF16, BF16);
    r.matmul("eight rows", "bf16", 8, F, D, false, true, BF16, BF16, BF16);
}

void head(Runner& r, const char* compute, DType activations, DType weights) {
    r.matmul("head logits, one chunk", compute, CHUNK, V, D, false, true, activations, weights, F32);
    r.matmul("head dX, one chunk", compute, CHUNK, D, V, false, false, activations, weights, activations);
    r.matmul("head dW, one chunk, added", compute, V, D, CHUNK, true, false, activations, activations, F32, "always");
    Buffer x(activations, {T, D}), w(weights, {V, D}), labels(DType::i32, {T}), weight(F32, {1});
    Buffer loss(F32, {1}), dx(activations, {T, D}), dw(F32, {V, D}), logprobs(F32, {T});
    const double product = 2.0 * static_cast<double>(T) * static_cast<double>(V) * static_cast<double>(D);
    std::map<std::string, Attr> attrs = {{"compute", std::string(compute)}, {"chunk_rows", double(CHUNK)}};
    if (find_kernel(r.isa, "linear_logprobs"))
        r.run((std::string(compute) + " linear_logprobs").c_str(), "linear_logprobs", attrs, {&x, &w, &labels},
              {&logprobs}, product);
    if (!find_kernel(r.isa, "linear_cross_entropy")) return;
    attrs["accumulate"] = std::string("always");
    attrs["dx"] = true;
    attrs["dw"] = false;
    r.run((std::string(compute) + " linear_cross_entropy, dx (LoRA)").c_str(), "linear_cross_entropy", attrs,
          {&x, &w, &labels, &weight}, {&loss, &dx}, 2 * product);
    attrs["dw"] = true;
    r.run((std::string(compute) + " linear_cross_entropy, dx and dw").c_str(), "linear_cross_entropy", attrs,
          {&x, &w, &labels, &weight}, {&loss, &dx, &dw}, 3 * product);
}

} // namespace

int main(int argc, char** argv) {
    ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 2);
    Runner r{argc > 2 ? argv[2] : available_isas().front(), pool.threads()};
    std::printf("kernel set %s, %d threads; T %ld D %ld F %ld V %ld\n", r.isa.c_str(), r.threads.count, static_cast<long>(T),
                static_cast<long>(D), static_cast<long>(F), static_cast<long>(V));
    layers(r, "bf16", BF16, BF16);
    low_rank(r);
    head(r, "bf16", BF16, BF16);
    layers(r, "f32", F32, F32);
    head(r, "f32", F32, F32);
    return 0;
}
