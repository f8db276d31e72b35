// A plan bound to a context's tensors: every record checked by its op, its scratch known, its pointers resolved, so
// that running it looks nothing up.
#pragma once
#include "memory.hpp"
#include "plan.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

namespace temper {

// What a program takes from and gives to the host.
struct Program {
    Range records{};
    std::vector<size_t> inputs;  // buffers of input slots that its records read
    std::vector<size_t> outputs; // buffers of output slots that its records write
    std::set<std::string> written; // tensors of the context that its records write
};

// Arena bytes that nothing of the program reads after a record.
struct Dead {
    size_t record, offset, bytes;
};

class LoadedPlan {
public:
    using FindTensor = std::function<std::shared_ptr<NamedTensor>(const std::string&)>;

    // Throws std::invalid_argument when an op is unknown or refuses its record, or a tensor is missing or differs.
    LoadedPlan(Plan plan, const std::string& isa, Threads threads, const FindTensor& find_tensor);

    const std::string& name() const { return plan_.name; }
    size_t arena_bytes() const { return plan_.arena_bytes; }
    size_t workspace_bytes() const { return workspace_bytes_; }
    const Program& program(const std::string& name) const; // throws std::invalid_argument listing the known ones
    const Buffer& buffer(size_t index) const { return plan_.buffers[index]; }
    void* slot(size_t index) const; // memory of an input or output slot

    bool uses(const std::string& tensor) const { return tensors_.contains(tensor); }
    bool writes(const std::string& tensor) const;

    // The rest belongs to the engine thread.
    void bind(char* arena, char* workspace);
    const char* op_name(size_t record) const { return ops_[record]->name; }
    size_t workspace_of(size_t record) const { return workspaces_[record]; }
    size_t arena_end(size_t record) const { return arena_ends_[record]; } // last arena byte it touches, exclusive
    void run(size_t record, bool first) {
        calls_[record].first = first;
        ops_[record]->run(calls_[record]);
    }
    // Ranges to poison, in the order of their records.
    std::vector<Dead> dead_ranges(const Program& program) const;

private:
    struct TensorUse {
        std::shared_ptr<NamedTensor> tensor;
        bool written = false;
    };

    void find_tensors(const FindTensor& find_tensor);
    void prepare(size_t record, const std::string& isa, Threads threads);
    void check_aliases(const Op& op, const Record& record) const;
    void lay_out_slots();
    void collect_programs();

    Plan plan_;
    std::unordered_map<std::string, TensorUse> tensors_;
    std::map<std::string, Program> programs_;
    std::vector<const Op*> ops_; // per record, as the next three
    std::vector<Call> calls_;
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
