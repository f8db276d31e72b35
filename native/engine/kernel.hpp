// What a backend computes an op with, and the kernel sets of the CPU. What the op accepts is in native/ops.
#pragma once
#include "../ops/op.hpp"
#include "threads.hpp"

namespace temper {

// One record, checked and ready to run. Shapes and dtypes are fixed at load; `data` pointers are set before a run.
struct Call : Operands {
    Threads threads = {};
    void* workspace = nullptr; // at least what the kernel's workspace() said, 64-byte aligned
    bool first = false;        // the run's `first` option

    bool accumulates() const { return adds(accumulate_mode(attrs), first); }
};

struct Kernel {
    const char* op;
    // Bytes of scratch for this call on call.threads.count threads.
    size_t (*workspace)(const Call&);
    void (*run)(Call&);
};

inline size_t no_workspace(const Call&) { return 0; }

// The kernel of that op in the kernel set `isa`, or nullptr. Each kernel set registers its own table.
const Kernel* find_kernel(const std::string& isa, const std::string& op);

// Kernel sets this CPU can run, best first; the last is always "portable".
std::vector<std::string> available_isas();

} // namespace temper
