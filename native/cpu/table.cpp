// Which kernel sets were built, which kernels they have, and which of them this CPU can run.
#include "kernel.hpp"

#include "../ops/list.hpp"

#include <string_view>

#if defined(__x86_64__)
#define TEMPER_ISAS(X) X(avx512_bf16) X(avx512) X(avx2) X(portable)
#else
#define TEMPER_ISAS(X) X(portable)
#endif

#define DECLARE_KERNEL(name) extern const Kernel name##_kernel;
#define DECLARE_ISA(isa)                                                                                               \
    namespace temper::isa {                                                                                            \
    TEMPER_OPS(DECLARE_KERNEL)                                                                                         \
    }
TEMPER_ISAS(DECLARE_ISA)

namespace temper {

namespace {

struct KernelSet {
    std::string_view isa;
    std::vector<const Kernel*> kernels;
};

const std::vector<KernelSet>& kernel_sets() {
#define ADDRESS(name) &name##_kernel,
#define KERNEL_SET(isa)                                                                                                \
    {#isa, [] {                                                                                                        \
         using namespace temper::isa;                                                                                  \
         return std::vector<const Kernel*>{TEMPER_OPS(ADDRESS)};                                                       \
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

const Kernel* find_kernel(const std::string& isa, const std::string& op) {
    for (const KernelSet& set : kernel_sets()) {
        if (set.isa != isa) continue;
        for (const Kernel* kernel : set.kernels)
            if (op == kernel->op) return kernel;
    }
    return nullptr;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> isas;
    for (const KernelSet& set : kernel_sets())
        if (cpu_runs(set.isa)) isas.emplace_back(set.isa);
    return isas;
}

} // namespace temper
