// A plan bound to a context's tensors: every record checked by the rules of its op, its scratch known, its pointers
// resolved and its kernel prepared, so that running it looks nothing up and allocates nothing.
#pragma once
#include "kernel.hpp"
#include "memory.hpp"
#include "plan.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

namespace temper {

// What an input slot may hold for the sake of a record that reads it.
struct SlotRule {
    size_t buffer, record;
    ValueRule rule;
};

// What a program takes from and gives to the host.
struct Program {
    Range records{};
    std::vector<size_t> inputs;  // buffers of input slots that its records read
    std::vector<size_t> outputs; // buffers of output slots that its records write
    std::set<std::string> written; // tensors of the context that its records write
    std::vector<SlotRule> rules; // of its input slots, each once
};

// Arena bytes that nothing of the program reads after a record.
struct Dead {
    size_t record, offset, bytes;
};

class LoadedPlan {
public:
    using FindTensor = std::function<std::shared_ptr<NamedTensor>(const std::string&)>;

    // Throws std::invalid_argument when an op is unknown, has no kernel in the set or refuses its record, or a tensor is missing or differs.
    LoadedPlan(Plan plan, const std::string& isa, Threads threads, const FindTensor& find_tensor);

    const std::string& name() const { return plan_.name; }
    size_t arena_bytes() const { return plan_.arena_bytes; }
    size_t workspace_bytes() const { return workspace_bytes_; }
    const Program& program(const std::string& name) const; // throws std::invalid_argument listing the known ones
    const Buffer& buffer(size_t index) const { return plan_.buffers[index]; }
    void* slot(size_t index) const; // memory of an input or output slot
    // Throws std::out_of_range when the bytes for an input slot break a rule of the program, and names slot, index and value.
    void check_input(const std::string& program, size_t buffer, std::span<const std::byte> data) const;

    bool uses(const std::string& tensor) const { return tensors_.contains(tensor); }
    bool writes(const std::string& tensor) const;

    // The rest belongs to the engine thread.
    void bind(char* arena, char* workspace); // prepares the records for these addresses
    const char* op_name(size_t record) const { return plan_.records[record].op.c_str(); }
    size_t workspace_of(size_t record) const { return workspaces_[record]; }
    size_t arena_end(size_t record) const { return arena_ends_[record]; } // last arena byte it touches, exclusive
    void run(size_t record, bool first) { prepared_[record]->run(first); }
    // Ranges to poison, in the order of their records.
    std::vector<Dead> dead_ranges(const Program& program) const;

private:
    struct TensorUse {
        std::shared_ptr<NamedTensor> tensor;
        bool written = false;
    };

    void find_tensors(const FindTensor& find_tensor);
    void prepare(size_t record, const std::string& isa, Threads threads);
    void check_aliases(const OpRules& rules, const Record& record) const;
    void require_checked_slots(const OpRules& rules, const Record& record) const;
    std::vector<SlotRule> slot_rules(const Range& records) const;
    void lay_out_slots();
    void collect_programs();

    Plan plan_;
    std::unordered_map<std::string, TensorUse> tensors_;
    std::map<std::string, Program> programs_;
    std::vector<const Kernel*> kernels_; // per record, as the next four
    std::vector<Call> calls_;
    std::vector<std::unique_ptr<Prepared>> prepared_; // once bound; they refer to their calls
    std::vector<size_t> workspaces_;
    std::vector<size_t> arena_ends_;
    std::vector<size_t> slot_offsets_; // per buffer, into slots_
    Pages slots_;
    size_t workspace_bytes_ = 0;
    char* arena_ = nullptr;
    char* workspace_ = nullptr;
    bool bound_ = false;
};

} // namespace temper
