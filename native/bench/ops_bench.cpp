// Times of the ops that are no matrix products, at SmolLM2-135M's shapes with T = 1024 tokens in two documents, beside
// what their memory traffic alone would take at this machine's measured bandwidth:
//     ops_bench [threads] [kernel set]
#include "../cpu/kernel.hpp"
#include "../engine/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

using namespace temper;

namespace {

constexpr int64_t T = 1024, D = 576, F = 1536, H = 9, G = 3, K = 64, V = 49152;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Tensor tensor(DType dtype, std::vector<int64_t> shape) {
    static std::mt19937 engine(1);
    Tensor t{dtype, std::move(shape), nullptr};
    t.data = std::aligned_alloc(64, (t.bytes() + 63) / 64 * 64);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < t.elements(); i++) {
        const float x = normal(engine);
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        if (dtype == DType::f32) t.as<float>()[i] = x;
        if (dtype == DType::bf16) t.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
        if (dtype == DType::i32) t.as<int32_t>()[i] = static_cast<int32_t>(bits % 1000);
    }
    return t;
}

Tensor integers(std::vector<int32_t> data, std::vector<int64_t> shape = {}) {
    if (shape.empty()) shape = {static_cast<int64_t>(data.size())};
    Tensor t = tensor(DType::i32, std::move(shape));
    std::copy(data.begin(), data.end(), t.as<int32_t>());
    return t;
}

// The fastest of many runs, in seconds: what the kernel takes when nothing else runs on the machine.
template <class F> double fastest(F&& f) {
    f();
    double best = INFINITY;
    int runs = 0;
    for (const double end = seconds() + 0.3; runs < 5 || seconds() < end; runs++) {
        const double begin = seconds();
        f();
        best = std::min(best, seconds() - begin);
    }
    return best;
}

struct Bench {
    std::string isa;
    Threads threads;
    double bandwidth; // bytes per second

    void measure(const char* label, const std::string& name, std::map<std::string, Attr> attrs, std::vector<Tensor> in,
                 std::vector<Tensor> out, double flops = 0) const {
        const Kernel* kernel = find_kernel(isa, name);
        if (!kernel) return;
        Call call{{std::move(in), std::move(out), {name, std::move(attrs)}}, threads, nullptr};
        find_rules(name)->check(call);
        call.workspace = std::aligned_alloc(64, (kernel->workspace(call) + 127) / 64 * 64);
        const auto prepared = kernel->prepare(call);
        double bytes = 0;
        for (const Tensor& t : call.in) bytes += static_cast<double>(t.bytes());
        for (const Tensor& t : call.out) bytes += static_cast<double>(t.bytes());
        const double time = fastest([&] { prepared->run(false); });
        std::printf("%-34s %8.3f ms %7.1f MB %6.1f GB/s", label, time * 1e3, bytes / 1e6, bytes / time / 1e9);
        if (flops > 0)
            std::printf("  %6.0f GFLOP/s\n", flops / time / 1e9);
        else
            std::printf("  %5.2f × the time at full bandwidth\n", time / (bytes / bandwidth));
        std::free(call.workspace);
    }
};

// a = b + scale · c over arrays much larger than the caches.
double triad(Threads threads) {
    const int64_t n = 1 << 24;
    Tensor a = tensor(DType::f32, {n}), b = a, c = a;
    b.data = std::aligned_alloc(64, a.bytes()), c.data = std::aligned_alloc(64, a.bytes());
    std::memset(b.data, 0, a.bytes()), std::memset(c.data, 0, a.bytes());
    float *x = a.as<float>(), *y = b.as<float>(), *z = c.as<float>();
    const double time = fastest([&] {
        constexpr int64_t CHUNK = 1 << 16;
        threads.run(n / CHUNK, [=](int64_t chunk, int) {
            for (int64_t i = chunk * CHUNK; i < (chunk + 1) * CHUNK; i++) x[i] = y[i] + 0.5f * z[i];
        });
    });
    return 3.0 * static_cast<double>(a.bytes()) / time;
}

void attention(const Bench& bench, DType dtype, int32_t length) {
    std::vector<int32_t> keys;
    double pairs = 0; // of a query and a key that it sees
    for (int32_t t = 0; t < T; t++) {
        keys.insert(keys.end(), {t - t % length, t});
        pairs += t % length + 1;
    }
    const Tensor q = tensor(dtype, {T, H * K}), k = tensor(dtype, {T, G * K}), v = tensor(dtype, {T, G * K});
    const Tensor o = tensor(dtype, q.shape), lse = tensor(DType::f32, {H, T}), spans = integers(keys, {T, 2});
    const std::map<std::string, Attr> attrs = {{"compute", std::string(dtype == DType::bf16 ? "bf16" : "f32")}, {"head_dim", double(K)}, {"scale", 1 / std::sqrt(double(K))}};
    const std::string suffix = std::string(dtype == DType::f32 ? " f32" : " bf16") + ", documents of " + std::to_string(length);
    bench.measure(("attention" + suffix).c_str(), "attention", attrs, {q, k, v, spans}, {o, lse}, 4 * pairs * H * K);
    bench.measure(("attention_grad" + suffix).c_str(), "attention_grad", attrs,
                  {tensor(dtype, q.shape), q, k, v, o, lse, spans}, {tensor(dtype, q.shape), tensor(dtype, k.shape), tensor(dtype, v.shape)},
                  10 * pairs * H * K);
}

} // namespace

int main(int argc, char** argv) {
    ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 2);
    const Threads threads = pool.threads();
    const Bench bench{argc > 2 ? argv[2] : available_isas().front(), threads, triad(threads)};
    std::printf("%s, %d threads, triad %.1f GB/s\n", bench.isa.c_str(), threads.count, bench.bandwidth / 1e9);
    const DType f32 = DType::f32, b16 = DType::bf16;
    for (DType dtype : {b16, f32})
        for (int32_t length : {64, 512, 1024}) attention(bench, dtype, length);

    std::vector<int32_t> counting(T);
    for (int32_t t = 0; t < T; t++) counting[static_cast<size_t>(t)] = t % 512;
    const Tensor positions = integers(counting), table = tensor(f32, {512, K}), rstd = tensor(f32, {T}), w = tensor(f32, {D});
    const Tensor x32 = tensor(f32, {T, D}), x16 = tensor(b16, {T, D}), y16 = tensor(b16, {T, D}), y32 = tensor(f32, {T, D});
    bench.measure("rmsnorm f32 → bf16", "rmsnorm", {{"eps", 1e-5}}, {x32, w}, {y16, rstd});
    bench.measure("rmsnorm_grad, residual", "rmsnorm_grad", {{"residual", true}, {"dw", false}}, {y16, x32, w, rstd, y32}, {tensor(f32, {T, D})});
    bench.measure("rmsnorm_grad, residual, dw", "rmsnorm_grad", {{"residual", true}, {"dw", true}, {"accumulate", std::string("always")}}, {y16, x32, w, rstd, y32}, {tensor(f32, {T, D}), tensor(f32, {D})});
    bench.measure("rope bf16", "rope", {{"head_dim", double(K)}, {"inverse", false}}, {x16, table, positions}, {y16});
    const Tensor gate = tensor(b16, {T, F}), up = tensor(b16, {T, F}), h = tensor(b16, {T, F}), dup = tensor(b16, {T, F});
    const Tensor gate32 = tensor(f32, {T, F}), h32 = tensor(f32, {T, F});
    for (const char* name : {"silu", "gelu", "gelu_tanh", "quick_gelu", "relu2"}) {
        const std::string fn = name;
        bench.measure(("glu " + fn + " bf16").c_str(), "glu", {{"fn", fn}}, {gate, up}, {h});
        bench.measure(("glu_grad " + fn + " bf16").c_str(), "glu_grad", {{"fn", fn}}, {h, gate, up}, {tensor(b16, {T, F}), dup});
        bench.measure(("act " + fn + " bf16").c_str(), "act", {{"fn", fn}}, {gate}, {h});
        bench.measure(("act " + fn + " f32").c_str(), "act", {{"fn", fn}}, {gate32}, {h32});
    }
    bench.measure("add f32", "add", {}, {x32, y32}, {tensor(f32, {T, D})});
    bench.measure("dropout bf16", "dropout", {{"probability", 0.1}, {"site", 1.0}}, {x16, integers({1, 2, 3, 0}), positions, positions}, {y16});
    bench.measure("reduce_rows bf16", "reduce_rows", {{"accumulate", std::string("never")}}, {gate}, {tensor(f32, {F})});

    const Tensor head = tensor(b16, {V, D}), hidden = tensor(b16, {T, D}), labels = positions, one = tensor(f32, {1});
    const Tensor loss = tensor(f32, {1}), dx = tensor(b16, {T, D}), dw = tensor(f32, {V, D});
    const double product = 2.0 * T * D * V;
    for (double rows : {256.0, 512.0}) {
        auto attrs = [&](bool with_dw) {
            return std::map<std::string, Attr>{{"compute", std::string("bf16")}, {"chunk_rows", rows}, {"dx", true}, {"dw", with_dw},
                                               {"accumulate", std::string("never")}};
        };
        const std::string label = "linear_cross_entropy, " + std::to_string(int(rows)) + " rows";
        bench.measure(label.c_str(), "linear_cross_entropy", attrs(false), {hidden, head, labels, one}, {loss, dx}, 2 * product);
        bench.measure((label + ", dw").c_str(), "linear_cross_entropy", attrs(true), {hidden, head, labels, one}, {loss, dx, dw}, 3 * product);
    }
    const std::map<std::string, Attr> with_dw = {{"compute", std::string("bf16")}, {"chunk_rows", 512.0}, {"dx", true}, {"dw", true}, {"accumulate", std::string("never")}};
    bench.measure("linear_logprobs_grad, 512 rows, dw", "linear_logprobs_grad", with_dw, {hidden, head, labels, tensor(f32, {T})}, {dx, dw}, 3 * product);

    const Tensor weights = tensor(f32, {V, D}), m = tensor(f32, {V, D}), v = tensor(f32, {V, D});
    std::fill_n(v.as<float>(), v.elements(), 1.0f);
    bench.measure("embedding_grad, adding", "embedding_grad", {{"accumulate", std::string("always")}}, {y16, positions}, {weights});
    const Tensor norm = tensor(f32, {1}), hyper = tensor(f32, {8});
    const float values[8] = {1e-4f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.001f, 1, 0};
    std::copy_n(values, 8, hyper.as<float>());
    bench.measure("global_norm of 28 M", "global_norm", {}, {weights}, {norm, tensor(f32, {1})});
    bench.measure("adamw of 28 M", "adamw", {{"weight_decay", 0.1}}, {weights, m, norm, hyper}, {weights, m, v});
    bench.measure("random_normal of 590 k", "random_normal", {{"seed", 1.0}, {"site", 1.0}, {"std", 1.0}}, {}, {y32});
}
