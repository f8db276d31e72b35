#include "loaded_plan.hpp"

#include <algorithm>

namespace temper {

namespace {

std::string join(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

} // namespace

LoadedPlan::LoadedPlan(Plan plan, const std::string& isa, Threads threads, const FindTensor& find_tensor)
    : plan_(std::move(plan)) {
    find_tensors(find_tensor);
    for (size_t i = 0; i < plan_.records.size(); i++) prepare(i, isa, threads);
    lay_out_slots();
    collect_programs();
}

void LoadedPlan::find_tensors(const FindTensor& find_tensor) {
    for (const Buffer& buffer : plan_.buffers) {
        if (buffer.space != Space::tensor) continue;
        const std::string needs =
            "plan '" + plan_.name + "' needs the tensor '" + buffer.name + "' as " + describe(buffer.dtype, buffer.shape);
        const std::shared_ptr<NamedTensor> named = find_tensor(buffer.name);
        if (!named) throw std::invalid_argument(needs + ", but the context has none of that name");
        const Tensor& tensor = named->tensor;
        if (tensor.dtype != buffer.dtype || tensor.shape != buffer.shape)
            throw std::invalid_argument(needs + ", but the context has it as " + describe(tensor.dtype, tensor.shape));
        tensors_[buffer.name].tensor = named;
    }
}

void LoadedPlan::prepare(size_t index, const std::string& isa, Threads threads) {
    const Record& record = plan_.records[index];
    const std::string where = "plan '" + plan_.name + "' record " + std::to_string(index) + " (" + record.op + "): ";
    const OpRules* rules = find_rules(record.op);
    if (!rules) throw std::invalid_argument(where + "unknown op; known are " + join(op_names()));
    const Kernel* kernel = find_kernel(isa, record.op);

    Call call;
    call.attrs = record.attrs;
    call.threads = threads;
    size_t arena_end = 0;
    auto operand = [&](size_t i) -> Tensor {
        const Buffer& buffer = plan_.buffers[i];
        if (buffer.space == Space::arena) arena_end = std::max(arena_end, buffer.offset + buffer.bytes);
        return {buffer.dtype, buffer.shape, nullptr};
    };
    for (size_t i : record.inputs) call.in.push_back(operand(i));
    for (size_t i : record.outputs) {
        call.out.push_back(operand(i));
        const Buffer& buffer = plan_.buffers[i];
        if (buffer.space != Space::tensor) continue;
        TensorUse& use = tensors_.at(buffer.name);
        if (!use.tensor->writable)
            throw std::invalid_argument(where + "writes the tensor '" + buffer.name + "', which is mapped from a file");
        use.written = true;
    }
    try {
        check_attributes(*rules, record.attrs);
        rules->check(call);
        check_aliases(*rules, record);
        require_checked_slots(*rules, record);
        if (!kernel) throw std::invalid_argument("the kernel set '" + isa + "' has no kernel for it");
        workspaces_.push_back(kernel->workspace(call));
    } catch (const std::exception& error) {
        throw std::invalid_argument(where + error.what());
    }
    workspace_bytes_ = std::max(workspace_bytes_, workspaces_.back());
    kernels_.push_back(kernel);
    calls_.push_back(std::move(call));
    arena_ends_.push_back(arena_end);
}

// An output lies on an input only where the op says that it works in place; that ranges overlap in part, or by chance in
// two outputs, parse_plan has refused.
void LoadedPlan::check_aliases(const OpRules& rules, const Record& record) const {
    auto same = [&](size_t a, size_t b) {
        const Buffer &x = plan_.buffers[a], &y = plan_.buffers[b];
        return x.space == y.space && (x.space == Space::arena ? x.offset == y.offset : x.name == y.name);
    };
    for (size_t out = 0; out < record.outputs.size(); out++)
        for (size_t in = 0; in < record.inputs.size(); in++)
            if (same(record.outputs[out], record.inputs[in]) &&
                !works_in_place(rules, record.attrs, out, in, record.inputs.size()))
                throw std::invalid_argument("its output '" + plan_.buffers[record.outputs[out]].name +
                                            "' lies on its input '" + plan_.buffers[record.inputs[in]].name +
                                            "', where it does not work in place");
}

// Values that decide what memory an op touches come from the host, which is where they can be checked before a run.
void LoadedPlan::require_checked_slots(const OpRules& rules, const Record& record) const {
    for (const CheckedInput* checked = rules.checked; checked->input >= 0; checked++) {
        const Buffer& buffer = plan_.buffers[record.inputs[static_cast<size_t>(checked->input)]];
        if (buffer.space != Space::input)
            throw std::invalid_argument("its input '" + buffer.name + "' must be an input slot, whose values are checked before a run");
    }
}

void LoadedPlan::lay_out_slots() {
    size_t bytes = 0;
    for (const Buffer& buffer : plan_.buffers) {
        slot_offsets_.push_back(bytes);
        if (buffer.space == Space::input || buffer.space == Space::output) bytes += align_up(buffer.bytes);
    }
    slots_ = Pages::zeroed(bytes, "the slots of plan '" + plan_.name + "'");
}

void LoadedPlan::collect_programs() {
    for (const auto& [name, range] : plan_.programs) {
        std::set<size_t> inputs, outputs;
        std::set<std::string> written;
        for (size_t r = range.from; r < range.to; r++) {
            for (size_t i : plan_.records[r].inputs)
                if (plan_.buffers[i].space == Space::input) inputs.insert(i);
            for (size_t i : plan_.records[r].outputs) {
                if (plan_.buffers[i].space == Space::output) outputs.insert(i);
                if (plan_.buffers[i].space == Space::tensor) written.insert(plan_.buffers[i].name);
            }
        }
        programs_[name] = {range, {inputs.begin(), inputs.end()}, {outputs.begin(), outputs.end()}, std::move(written),
                           slot_rules(range)};
    }
}

std::vector<SlotRule> LoadedPlan::slot_rules(const Range& records) const {
    std::vector<SlotRule> rules;
    for (size_t r = records.from; r < records.to; r++) {
        const Record& record = plan_.records[r];
        for (const CheckedInput* checked = find_rules(record.op)->checked; checked->input >= 0; checked++) {
            const SlotRule rule{record.inputs[static_cast<size_t>(checked->input)], r, checked->rule(calls_[r])};
            const bool listed = std::any_of(rules.begin(), rules.end(), [&](const SlotRule& other) {
                return other.buffer == rule.buffer && other.rule == rule.rule;
            });
            if (!listed) rules.push_back(rule);
        }
    }
    return rules;
}

void LoadedPlan::check_input(const std::string& program, size_t buffer, std::span<const std::byte> data) const {
    const std::span values(reinterpret_cast<const int32_t*>(data.data()), data.size() / sizeof(int32_t));
    for (const SlotRule& rule : programs_.at(program).rules) {
        BadValue bad;
        if (rule.buffer != buffer || !find_bad_value(rule.rule, values, bad)) continue;
        throw std::out_of_range("plan '" + plan_.name + "' program '" + program + "': " + plan_.buffers[buffer].name + "[" +
                                std::to_string(bad.index) + "] is " + std::to_string(bad.value) + "; for record " +
                                std::to_string(rule.record) + " (" + op_name(rule.record) + ") " + bad.reason);
    }
}

const Program& LoadedPlan::program(const std::string& name) const {
    if (const auto found = programs_.find(name); found != programs_.end()) return found->second;
    std::vector<std::string> known;
    for (const auto& entry : programs_) known.push_back(entry.first);
    throw std::invalid_argument("plan '" + plan_.name + "' has no program '" + name + "'; it has " + join(known));
}

void* LoadedPlan::slot(size_t index) const { return static_cast<char*>(slots_.data()) + slot_offsets_[index]; }

bool LoadedPlan::writes(const std::string& tensor) const {
    const auto found = tensors_.find(tensor);
    return found != tensors_.end() && found->second.written;
}

void LoadedPlan::bind(char* arena, char* workspace) {
    if (bound_ && arena == arena_ && workspace == workspace_) return;
    std::vector<void*> addresses;
    for (size_t i = 0; i < plan_.buffers.size(); i++) {
        const Buffer& buffer = plan_.buffers[i];
        if (buffer.space == Space::arena) addresses.push_back(arena + buffer.offset);
        else if (buffer.space == Space::tensor) addresses.push_back(tensors_.at(buffer.name).tensor->tensor.data);
        else addresses.push_back(slot(i));
    }
    bound_ = false;
    prepared_.clear();
    for (size_t r = 0; r < calls_.size(); r++) {
        const Record& record = plan_.records[r];
        for (size_t i = 0; i < record.inputs.size(); i++) calls_[r].in[i].data = addresses[record.inputs[i]];
        for (size_t i = 0; i < record.outputs.size(); i++) calls_[r].out[i].data = addresses[record.outputs[i]];
        calls_[r].workspace = workspace;
        prepared_.push_back(kernels_[r]->prepare(calls_[r]));
    }
    arena_ = arena;
    workspace_ = workspace;
    bound_ = true;
}

// A buffer dies with the last record that touches it. One whose first use is a read is a view of memory that another
// buffer wrote, so while a view is concerned, both must be past before their common bytes are dead.
std::vector<Dead> LoadedPlan::dead_ranges(const Program& program) const {
    struct Life {
        size_t buffer, first, last;
        bool view;
    };
    std::map<size_t, Life> lives;
    for (size_t r = program.records.from; r < program.records.to; r++) {
        auto touch = [&](size_t i, bool reads) {
            if (plan_.buffers[i].space != Space::arena) return;
            lives.try_emplace(i, Life{i, r, r, reads}).first->second.last = r;
        };
        for (size_t i : plan_.records[r].inputs) touch(i, true);
        for (size_t i : plan_.records[r].outputs) touch(i, false);
    }
    std::vector<Life> by_offset;
    for (const auto& entry : lives) by_offset.push_back(entry.second);
    auto offset = [&](const Life& life) { return plan_.buffers[life.buffer].offset; };
    auto end = [&](const Life& life) { return offset(life) + plan_.buffers[life.buffer].bytes; };
    std::sort(by_offset.begin(), by_offset.end(), [&](const Life& a, const Life& b) { return offset(a) < offset(b); });

    std::vector<Dead> dead;
    for (const Life& life : by_offset) {
        bool shared = false;
        for (const Life& other : by_offset) {
            if (offset(other) >= end(life)) break;
            if (other.buffer == life.buffer || end(other) <= offset(life)) continue;
            const bool alive = (other.view || other.first <= life.last) && other.last > life.last;
            // Outputs made in place take over their input's bytes at the record that reads it last.
            shared = shared || (alive && (life.view || other.view || other.first == life.last));
        }
        if (!shared) dead.push_back({life.last, offset(life), end(life) - offset(life)});
    }
    std::stable_sort(dead.begin(), dead.end(), [](const Dead& a, const Dead& b) { return a.record < b.record; });
    return dead;
}

} // namespace temper
