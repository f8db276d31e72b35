// Which ops there are, which kernel sets were built, and which of them this CPU can run.
#include "../engine/op.hpp"

#include <string_view>

// One line per op of docs/plan-format.md.
#define TEMPER_OPS(X)                                                                                                  \
    X(fill) X(cast) X(add) X(scale)                                                                                    \
    X(embedding) X(embedding_grad)                                                                                     \
    X(matmul)                                                                                                          \
    X(rmsnorm) X(rmsnorm_grad)                                                                                         \
    X(rope)                                                                                                            \
    X(attention) X(attention_grad)                                                                                     \
    X(swiglu) X(swiglu_grad)                                                                                           \
    X(reduce_rows)                                                                                                     \
    X(dropout)                                                                                                         \
    X(cross_entropy) X(linear_cross_entropy) X(linear_logprobs)                                                        \
    X(global_norm) X(adamw) X(sgd)                                                                                     \
    X(random_normal) X(random_uniform)

#if defined(__x86_64__)
#define TEMPER_ISAS(X) X(avx512_bf16) X(avx512) X(avx2) X(portable)
#else
#define TEMPER_ISAS(X) X(portable)
#endif

#define DECLARE_OP(name) extern const Op name##_op;
#define DECLARE_ISA(isa)                                                                                               \
    namespace temper::isa {                                                                                            \
    TEMPER_OPS(DECLARE_OP)                                                                                             \
    }
TEMPER_ISAS(DECLARE_ISA)

namespace temper {

namespace {

struct KernelSet {
    std::string_view isa;
    std::vector<const Op*> ops;
};

const std::vector<KernelSet>& kernel_sets() {
#define ADDRESS(name) &name##_op,
#define KERNEL_SET(isa)                                                                                                \
    {#isa, [] {                                                                                                        \
         using namespace temper::isa;                                                                                  \
         return std::vector<const Op*>{TEMPER_OPS(ADDRESS)};                                                           \
     }()},
    static const std::vector<KernelSet> sets = {TEMPER_ISAS(KERNEL_SET)};
    return sets;
}

// GCC's and Clang's test includes the operating system's: the registers must be saved on a context switch (XCR0).
bool cpu_runs(std::string_view isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == "avx2") return avx2;
    if (isa == "avx512") return avx512;
    if (isa == "avx512_bf16") return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
    return isa == "portable";
}

} // namespace

const Op* find_op(const std::string& isa, const std::string& name) {
    for (const KernelSet& set : kernel_sets()) {
        if (set.isa != isa) continue;
        for (const Op* op : set.ops)
            if (name == op->name) return op;
    }
    return nullptr;
}

std::vector<std::string> op_names() {
    std::vector<std::string> names;
    for (const Op* op : kernel_sets().back().ops) names.push_back(op->name);
    return names;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> isas;
    for (const KernelSet& set : kernel_sets())
        if (cpu_runs(set.isa)) isas.emplace_back(set.isa);
    return isas;
}

} // namespace temper
