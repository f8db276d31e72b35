// What a backend computes an op with, and the kernel sets of the CPU. What the op accepts is in native/ops.
#pragma once
#include "../ops/op.hpp"
#include "../engine/threads.hpp"

#include <memory>
#include <utility>

namespace temper {

// One record, checked. Shapes and dtypes are fixed at load; `data` pointers and workspace are set before it is prepared.
struct Call : Operands {
    Threads threads = {};
    void* workspace = nullptr; // at least what the kernel's workspace() said, 64-byte aligned
};

// A record made ready: what attributes, shapes and threads decide is decided, and what it needs to hold is allocated.
class Prepared {
public:
    virtual ~Prepared() = default;
    // Looks nothing up and allocates nothing. `first` is the run's option.
    virtual void run(bool first) = 0;
};

struct Kernel {
    const char* op;
    // Bytes of scratch for this call on call.threads.count threads.
    size_t (*workspace)(const Call&);
    // The call outlives what this returns.
    std::unique_ptr<Prepared> (*prepare)(const Call&);
};

// A prepared record from a function of `first`, which captures what it needs.
template <class Run> std::unique_ptr<Prepared> prepared(Run run) {
    struct Closure final : Prepared {
        explicit Closure(Run function) : function(std::move(function)) {}
        void run(bool first) override { function(first); }
        Run function;
    };
    return std::make_unique<Closure>(std::move(run));
}

// The same for an op without attributes.
template <void (*RUN)(const Call&)> std::unique_ptr<Prepared> prepare_call(const Call& call) {
    return prepared([&call](bool) { RUN(call); });
}

inline size_t no_workspace(const Call&) { return 0; }

// The kernel of that op in the kernel set `isa`, or nullptr. Each kernel set registers its own table.
const Kernel* find_kernel(const std::string& isa, const std::string& op);

// Kernel sets this CPU can run, best first; the last is always "portable".
std::vector<std::string> available_isas();

} // namespace temper
