// Calls of ops on random tensors, in every kernel set this CPU can run, for the tests of native/cpu.
#pragma once
#include "../cpu/kernel.hpp"
#include "../engine/thread_pool.hpp"
#include "allocations.hpp"
#include "check.hpp"

#include <cstdlib>
#include <functional>
#include <memory>
#include <random>

namespace temper::check {

// Tensors and calls own their memory: 64-byte aligned, with guards behind it that a stray write would change.
class Memory {
  public:
    explicit Memory(size_t bytes) : bytes_(bytes), memory_(static_cast<char*>(std::aligned_alloc(64, round(bytes)))) {
        std::memset(memory_.get(), 0xff, round(bytes)); // NaN in every float type
    }
    void* get() { return memory_.get(); }
    bool guard_is_whole() const {
        for (size_t i = bytes_; i < round(bytes_); i++)
            if (memory_.get()[i] != static_cast<char>(0xff)) return false;
        return true;
    }

  private:
    static size_t round(size_t bytes) { return (bytes + 63) / 64 * 64 + 64; }
    struct Free {
        void operator()(char* p) const { std::free(p); }
    };
    size_t bytes_;
    std::unique_ptr<char, Free> memory_;
};

inline float round_to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    std::memcpy(&x, &bits, 4);
    return x;
}

// The half nearest to x (ties to even), as its bits; for normal halves.
inline uint16_t f16_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude < 0x38800000) return static_cast<uint16_t>(sign); // below the smallest normal half: 0
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}
inline float round_to_f16(float x) {
    const uint32_t bits = f16_bits(x), magnitude = bits & 0x7fff;
    const uint32_t wide = (bits & 0x8000) << 16 | (magnitude ? (magnitude << 13) + 0x38000000 : 0);
    std::memcpy(&x, &wide, 4);
    return x;
}

// A tensor with its values in double precision beside it: what references compute from.
struct Values {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<double> data;

    double operator[](int64_t i) const { return data[static_cast<size_t>(i)]; }
};

inline int64_t count(const std::vector<int64_t>& shape) {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
}

inline std::mt19937& generator() {
    static std::mt19937 engine(20240229);
    return engine;
}
inline int64_t whole(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(generator());
}

inline Values values(DType dtype, std::vector<int64_t> shape, std::vector<double> data) {
    for (double& x : data) {
        const float nearest = static_cast<float>(x);
        x = dtype == DType::bf16 ? round_to_bf16(nearest) : dtype == DType::f16 ? round_to_f16(nearest) : nearest;
    }
    return {dtype, std::move(shape), std::move(data)};
}
inline Values normal(DType dtype, std::vector<int64_t> shape, double deviation = 1) {
    std::normal_distribution<double> distribution(0, deviation);
    std::vector<double> data(static_cast<size_t>(count(shape)));
    for (double& x : data) x = distribution(generator());
    return values(dtype, std::move(shape), std::move(data));
}
inline Values integers(std::vector<int64_t> data, std::vector<int64_t> shape = {}) {
    if (shape.empty()) shape = {static_cast<int64_t>(data.size())};
    return {DType::i32, std::move(shape), std::vector<double>(data.begin(), data.end())};
}
inline Values zeros(DType dtype, std::vector<int64_t> shape) {
    return {dtype, shape, std::vector<double>(static_cast<size_t>(count(shape)))};
}

// One op with inputs and outputs. An output given by values starts with them (for ops that update in place).
struct Invocation {
    std::string op;
    std::map<std::string, Attr> attrs;
    std::vector<Values> in, out;
    bool first = false;
    std::vector<std::pair<size_t, size_t>> in_place = {}; // output i is input j

    // What the outputs hold after the op has run.
    std::vector<std::vector<double>> run(const std::string& isa, int threads) const {
        const OpRules* rules = find_rules(op);
        const Kernel* kernel = find_kernel(isa, op);
        if (!rules || !kernel) throw std::runtime_error("no op " + op + " in " + isa);
        std::vector<Memory> memory;
        ThreadPool pool(threads);
        Call call{{{}, {}, {op, attrs}}, pool.threads(), nullptr};
        for (const auto* side : {&in, &out})
            for (const Values& v : *side) {
                Tensor tensor{v.dtype, v.shape, nullptr};
                memory.emplace_back(tensor.bytes());
                tensor.data = memory.back().get();
                write(v, tensor);
                (side == &in ? call.in : call.out).push_back(tensor);
            }
        for (auto [output, input] : in_place) call.out[output].data = call.in[input].data;
        check_attributes(*rules, call.attrs);
        rules->check(call);
        check_inputs(*rules, call);
        Memory workspace(kernel->workspace(call));
        call.workspace = workspace.get();
        const auto prepared = kernel->prepare(call);
        const int64_t before = allocations();
        prepared->run(first);
        CHECK_EQ(allocations(), before);
        for (const Memory& m : memory) CHECK(m.guard_is_whole());
        CHECK(workspace.guard_is_whole());
        std::vector<std::vector<double>> results;
        for (const Tensor& tensor : call.out) results.push_back(read(tensor));
        return results;
    }

    // Runs in every kernel set, and there on 1, 2 and 3 threads, which must agree bit by bit.
    void on_each_isa(const std::function<void(const std::vector<std::vector<double>>&)>& check) const {
        for (const std::string& isa : available_isas()) {
            const auto results = run(isa, 1);
            for (int threads : {2, 3}) {
                const auto other = run(isa, threads);
                for (size_t i = 0; i < results.size(); i++)
                    CHECK(std::memcmp(results[i].data(), other[i].data(), results[i].size() * sizeof(double)) == 0);
            }
            check(results);
        }
    }

    // As a context checks input slots.
    static void check_inputs(const OpRules& rules, const Call& call) {
        for (const CheckedInput* checked = rules.checked; checked->input >= 0; checked++) {
            const Tensor& input = call.in[static_cast<size_t>(checked->input)];
            BadValue bad;
            if (find_bad_value(checked->rule(call), {input.as<int32_t>(), static_cast<size_t>(input.elements())}, bad))
                throw std::out_of_range("[" + std::to_string(bad.index) + "] is " + std::to_string(bad.value) + "; " + bad.reason);
        }
    }

    static void write(const Values& v, Tensor& tensor) {
        for (size_t i = 0; i < v.data.size(); i++) {
            const float x = static_cast<float>(v.data[i]);
            if (v.dtype == DType::f32) tensor.as<float>()[i] = x;
            if (v.dtype == DType::f16) tensor.as<uint16_t>()[i] = f16_bits(x);
            if (v.dtype == DType::i32) tensor.as<int32_t>()[i] = static_cast<int32_t>(static_cast<int64_t>(v.data[i]));
            if (v.dtype == DType::bf16) {
                uint32_t bits;
                std::memcpy(&bits, &x, 4);
                tensor.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
            }
        }
    }
    static std::vector<double> read(const Tensor& tensor) {
        std::vector<double> result(static_cast<size_t>(tensor.elements()));
        for (size_t i = 0; i < result.size(); i++) {
            if (tensor.dtype == DType::f32) result[i] = tensor.as<float>()[i];
            if (tensor.dtype == DType::i32) result[i] = tensor.as<int32_t>()[i];
            if (tensor.dtype == DType::bf16) {
                const uint32_t bits = static_cast<uint32_t>(tensor.as<uint16_t>()[i]) << 16;
                float x;
                std::memcpy(&x, &bits, 4);
                result[i] = x;
            }
        }
        return result;
    }
};

// √(Σ (a − b)² ÷ Σ b²): the relative error of a whole tensor.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < b.size(); i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return difference == 0 ? 0 : std::sqrt(difference / size);
}

// Half an ulp of the type, relative: what storing a result costs.
inline double rounding(DType dtype) { return dtype == DType::bf16 ? 0x1p-8 : 0x1p-24; }

} // namespace temper::check
