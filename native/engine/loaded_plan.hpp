// A plan bound to a context's tensors: every record checked by the rules of its op, its scratch known, its addresses
// resolved and its kernel prepared, so that running it looks nothing up and allocates nothing.
#pragma once
#include "../backend/device.hpp"
#include "plan.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

namespace temper {

// A tensor of a context, by name.
struct NamedTensor {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    DeviceMemory memory;
    bool writable = true; // not one that was loaded from a file
};

// What an input slot may hold for the sake of a record that reads it.
struct SlotRule {
    size_t buffer, record;
    ValueRule rule;
};

// What a program takes from and gives to the host, and what it touches.
struct Program {
    Range segments{}, records{};
    std::vector<size_t> inputs;  // buffers of input slots that it uploads, or that say how often a loop runs
    std::vector<size_t> outputs; // buffers of output slots that it downloads
    std::vector<int> streams;    // that its records run on
    std::set<std::string> reads, writes; // tensors of the context
    bool uses_arena = false;
    std::vector<SlotRule> rules; // of its input slots, each once
    std::vector<std::vector<Range>> dead; // per record: arena bytes that nothing of the program reads after it
};

// Bytes that an upload, a copy or a download moves.
struct Move {
    size_t from, to, bytes; // the first two are buffers
};

// The operands of a record, and what it is beyond a kernel.
struct CheckedRecord {
    std::vector<size_t> inputs, outputs; // buffers, in the order of Operands
    Operands operands;
    enum class Kind : uint8_t { kernel, upload, copy, download } kind = Kind::kernel;
    size_t scratch = 0;   // bytes
    size_t arena_end = 0; // last arena byte that it touches, exclusive
};

// Checks the records of a plan as far as that goes without tensors: by the rules of their ops and by the target.
// Throws std::invalid_argument that names the record, or BackendError UNSUPPORTED.
std::vector<CheckedRecord> check_records(const Plan& plan, const Target& target);

// The most scratch that a record needs, bytes.
size_t workspace_bytes(const std::vector<CheckedRecord>& records);

class LoadedPlan {
public:
    using FindTensor = std::function<std::shared_ptr<NamedTensor>(const std::string&)>;

    // Also throws std::invalid_argument where a tensor is missing or differs.
    LoadedPlan(Plan plan, const Target& target, const FindTensor& find_tensor);

    const std::string& name() const { return plan_.name; }
    size_t arena_bytes() const { return plan_.arena_bytes; }
    size_t workspace_bytes() const { return workspace_bytes_; }
    size_t events() const { return plan_.events.size(); }
    const Program& program(const std::string& name) const; // throws std::invalid_argument listing the known ones
    const Buffer& buffer(size_t index) const { return plan_.buffers[index]; }
    const Segment& segment(size_t index) const { return plan_.segments[index]; }
    const Record& record(size_t index) const { return plan_.records[index]; }
    const CheckedRecord& checked(size_t index) const { return checked_[index]; }
    // Throws std::out_of_range when the bytes for an input slot break a rule of the program, and names slot, index and value.
    void check_input(const std::string& program, size_t buffer, std::span<const std::byte> data) const;

    bool uses(const std::string& tensor) const { return tensors_.contains(tensor); }
    bool writes(const std::string& tensor) const;

    // The order of programs. Throws std::runtime_error where the program may not follow what was queued before.
    void require_next(const std::string& program) const;
    void advance(const std::string& program);
    void restart_step() { step_at_.reset(); }

    // The rest belongs to the engine thread.
    uint32_t first_event = 0; // number of the plan's first event on the device
    void bind(const Device& device, char* arena, char* workspace); // prepares the records for these addresses
    char* address(size_t buffer) const { return addresses_[buffer]; }
    const PreparedRecord& prepared(size_t record) const { return prepared_[prepared_of_[record]]; }
    const std::vector<Move>& moves(size_t record) const { return moves_[record]; }
    // Whether all of a segment's records can be captured on the compute stream.
    bool can_capture(size_t segment) const;
    // A place for the captured segment, by whether the run is the step's first and last micro-batch.
    std::unique_ptr<CapturedSegment>& captured(size_t segment, bool first, bool last) { return captured_[segment * 4 + first * 2 + last]; }

private:
    struct TensorUse {
        std::shared_ptr<NamedTensor> tensor;
        bool written = false;
    };

    void find_tensors(const FindTensor& find_tensor);
    void collect_programs();
    std::vector<SlotRule> slot_rules(const Range& records) const;
    std::vector<std::vector<Range>> dead_ranges(const Range& records) const;
    std::vector<size_t> next_steps() const; // items of the step that may come next

    Plan plan_;
    std::vector<CheckedRecord> checked_;
    std::unordered_map<std::string, TensorUse> tensors_;
    std::map<std::string, Program> programs_;
    std::vector<size_t> slot_of_; // per buffer: the input slot whose values it holds, or NONE
    std::vector<std::vector<Move>> moves_; // per record
    size_t workspace_bytes_ = 0;
    std::optional<size_t> step_at_; // the item of the step that was queued last

    std::vector<char*> addresses_; // per buffer, once bound; null for slots
    std::vector<PreparedRecord> prepared_;
    std::vector<size_t> prepared_of_; // per record
    std::vector<std::unique_ptr<CapturedSegment>> captured_;
    char* arena_ = nullptr;
    char* workspace_ = nullptr;
    bool bound_ = false;
};

} // namespace temper
