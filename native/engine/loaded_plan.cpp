#include "loaded_plan.hpp"

#include "memory.hpp"

#include <algorithm>

namespace temper {

namespace {

constexpr size_t NONE = SIZE_MAX;

std::string join(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

// A window's base; the buffer itself where it is none.
size_t base_of(const Plan& plan, size_t index) { return plan.buffers[index].window ? plan.buffers[index].window->of : index; }

bool overlap(const Buffer& a, const Buffer& b) {
    if (a.space != b.space || (a.space != Space::arena && a.name != b.name)) return false;
    return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

bool same_range(const Buffer& a, const Buffer& b) { return overlap(a, b) && a.offset == b.offset && a.bytes == b.bytes; }

// Two outputs never share memory. An output is an input's very range only where its op works in place, never a part of it.
void check_overlaps(const Plan& plan, const CheckedRecord& record, const OpRules& rules) {
    for (size_t i = 0; i < record.outputs.size(); i++) {
        const Buffer& out = plan.buffers[record.outputs[i]];
        for (size_t j = 0; j < i; j++)
            if (overlap(out, plan.buffers[record.outputs[j]]))
                throw std::invalid_argument("its outputs '" + plan.buffers[record.outputs[j]].name + "' and '" + out.name + "' share memory");
        for (size_t j = 0; j < record.inputs.size(); j++) {
            const Buffer& in = plan.buffers[record.inputs[j]];
            if (!overlap(out, in)) continue;
            if (!same_range(out, in)) throw std::invalid_argument("the output '" + out.name + "' covers a part of the input '" + in.name + "'");
            if (!works_in_place(rules, record.operands.attrs, i, j, record.inputs.size()))
                throw std::invalid_argument("its output '" + out.name + "' lies on its input '" + in.name + "', where it does not work in place");
        }
    }
}

// Host memory is read by uploads and written by downloads alone.
void check_slots(const Plan& plan, const CheckedRecord& record) {
    using Kind = CheckedRecord::Kind;
    for (size_t i : record.inputs) {
        const Buffer& in = plan.buffers[i];
        if (in.space == Space::output) throw std::invalid_argument("reads the output slot '" + in.name + "'");
        if ((in.space == Space::input) != (record.kind == Kind::upload))
            throw std::invalid_argument(record.kind == Kind::upload ? "uploads '" + in.name + "', which is no input slot"
                                                                    : "reads the input slot '" + in.name + "', which only an upload does");
    }
    for (size_t i : record.outputs) {
        const Buffer& out = plan.buffers[i];
        if (out.space == Space::input) throw std::invalid_argument("writes the input slot '" + out.name + "'");
        if ((out.space == Space::output) != (record.kind == Kind::download))
            throw std::invalid_argument(record.kind == Kind::download ? "downloads to '" + out.name + "', which is no output slot"
                                                                      : "writes the output slot '" + out.name + "', which only a download does");
    }
}

CheckedRecord check_record(const Plan& plan, const Record& record, const OpRules& rules, const Target& target) {
    CheckedRecord checked;
    check_attributes(rules, record.attrs);
    checked.inputs = flatten(rules.inputs, record.attrs, record.inputs);
    checked.outputs = flatten(rules.outputs, record.attrs, record.outputs);
    checked.operands.attrs = record.attrs;
    auto operand = [&](size_t i) -> Tensor {
        const Buffer& buffer = plan.buffers[i];
        if (buffer.space == Space::arena) checked.arena_end = std::max(checked.arena_end, buffer.offset + buffer.bytes);
        return {buffer.dtype, buffer.shape, nullptr};
    };
    for (size_t i : checked.inputs) checked.operands.in.push_back(operand(i));
    for (size_t i : checked.outputs) checked.operands.out.push_back(operand(i));
    using Kind = CheckedRecord::Kind;
    checked.kind = record.op == "upload" ? Kind::upload : record.op == "copy" ? Kind::copy : record.op == "download" ? Kind::download : Kind::kernel;
    rules.check(checked.operands);
    check_slots(plan, checked);
    check_overlaps(plan, checked, rules);
    if (checked.kind == Kind::kernel) checked.scratch = target.scratch(checked.operands);
    return checked;
}

// The input slot whose values each buffer holds: one that nothing but an upload or a copy of one ever writes.
std::vector<size_t> slots_of_buffers(const Plan& plan, const std::vector<CheckedRecord>& records) {
    std::vector<size_t> slots(plan.buffers.size(), NONE);
    std::vector<bool> is_written(plan.buffers.size(), false);
    for (const CheckedRecord& record : records) {
        const bool moves = record.kind == CheckedRecord::Kind::upload || record.kind == CheckedRecord::Kind::copy;
        for (size_t i = 0; i < record.outputs.size(); i++) {
            const size_t to = record.outputs[i], from = moves ? record.inputs[i] : NONE;
            const size_t slot = !moves ? NONE : record.kind == CheckedRecord::Kind::upload ? from : slots[from];
            slots[to] = is_written[to] && slots[to] != slot ? NONE : slot;
            is_written[to] = true;
        }
    }
    return slots;
}

// Values that decide what memory an op touches come from the host, which is where they can be checked before a run.
void require_checked_slots(const Plan& plan, const CheckedRecord& record, const OpRules& rules, const std::vector<size_t>& slots) {
    for (const CheckedInput* checked = rules.checked; checked->input >= 0; checked++) {
        const size_t buffer = record.inputs[static_cast<size_t>(checked->input)];
        if (slots[buffer] == NONE)
            throw std::invalid_argument("its input '" + plan.buffers[buffer].name +
                                        "' must come from an input slot, whose values are checked before a run");
    }
}

} // namespace

std::vector<CheckedRecord> check_records(const Plan& plan, const Target& target) {
    if (plan.alignment % target.alignment() != 0)
        throw std::invalid_argument("plan '" + plan.name + "' is aligned to " + std::to_string(plan.alignment) + " bytes; the target '" +
                                    target.name() + "' needs " + std::to_string(target.alignment()) + ": compile the plan for it");
    std::vector<CheckedRecord> records;
    auto at_record = [&](size_t index, auto work) {
        const Record& record = plan.records[index];
        const std::string where = "plan '" + plan.name + "' " + record.describe(index) + ": ";
        try {
            const OpRules* rules = find_rules(record.op);
            if (!rules) throw std::invalid_argument("unknown op; known are " + join(op_names()));
            work(record, *rules);
        } catch (const BackendError& error) {
            throw BackendError(error.status, where + error.what());
        } catch (const std::exception& error) {
            throw std::invalid_argument(where + error.what());
        }
    };
    for (size_t i = 0; i < plan.records.size(); i++)
        at_record(i, [&](const Record& record, const OpRules& rules) { records.push_back(check_record(plan, record, rules, target)); });
    const std::vector<size_t> slots = slots_of_buffers(plan, records);
    for (size_t i = 0; i < plan.records.size(); i++)
        at_record(i, [&](const Record&, const OpRules& rules) { require_checked_slots(plan, records[i], rules, slots); });
    return records;
}

size_t workspace_bytes(const std::vector<CheckedRecord>& records) {
    size_t bytes = 0;
    for (const CheckedRecord& record : records) bytes = std::max(bytes, record.scratch);
    return bytes;
}

LoadedPlan::LoadedPlan(Plan plan, const Target& target, const FindTensor& find_tensor)
    : plan_(std::move(plan)), checked_(check_records(plan_, target)), slot_of_(slots_of_buffers(plan_, checked_)),
      workspace_bytes_(temper::workspace_bytes(checked_)) {
    find_tensors(find_tensor);
    for (const CheckedRecord& record : checked_) {
        std::vector<Move> moves;
        if (record.kind != CheckedRecord::Kind::kernel)
            for (size_t i = 0; i < record.inputs.size(); i++)
                moves.push_back({record.inputs[i], record.outputs[i], plan_.buffers[record.inputs[i]].bytes});
        moves_.push_back(std::move(moves));
    }
    collect_programs();
    captured_.resize(plan_.segments.size() * 4);
}

void LoadedPlan::find_tensors(const FindTensor& find_tensor) {
    for (const Buffer& buffer : plan_.buffers) {
        if (buffer.space != Space::tensor || buffer.window) continue;
        const std::string needs =
            "plan '" + plan_.name + "' needs the tensor '" + buffer.name + "' as " + describe(buffer.dtype, buffer.shape);
        const std::shared_ptr<NamedTensor> named = find_tensor(buffer.name);
        if (!named) throw std::invalid_argument(needs + ", but the context has none of that name");
        if (named->dtype != buffer.dtype || named->shape != buffer.shape)
            throw std::invalid_argument(needs + ", but the context has it as " + describe(named->dtype, named->shape));
        tensors_[buffer.name].tensor = named;
    }
    for (size_t r = 0; r < checked_.size(); r++)
        for (size_t i : checked_[r].outputs) {
            if (plan_.buffers[i].space != Space::tensor) continue;
            TensorUse& use = tensors_.at(plan_.buffers[i].name);
            if (!use.tensor->writable)
                throw std::invalid_argument("plan '" + plan_.name + "' " + plan_.records[r].describe(r) + ": writes the tensor '" +
                                            plan_.buffers[i].name + "', which is mapped from a file");
            use.written = true;
        }
}

void LoadedPlan::collect_programs() {
    for (const auto& [name, segments] : plan_.programs) {
        Program program;
        program.segments = segments;
        if (segments.from < segments.to)
            program.records = {plan_.segments[segments.from].records.from, plan_.segments[segments.to - 1].records.to};
        std::set<size_t> inputs, outputs;
        std::set<int> streams;
        for (size_t s = segments.from; s < segments.to; s++)
            if (plan_.segments[s].loop) inputs.insert(plan_.segments[s].loop->count);
        for (size_t r = program.records.from; r < program.records.to; r++) {
            streams.insert(plan_.records[r].stream);
            auto touch = [&](size_t i, std::set<std::string>& tensors) {
                if (plan_.buffers[i].space == Space::arena) program.uses_arena = true;
                if (plan_.buffers[i].space == Space::tensor) tensors.insert(plan_.buffers[i].name);
                if (plan_.buffers[i].space == Space::input) inputs.insert(i);
                if (plan_.buffers[i].space == Space::output) outputs.insert(i);
            };
            for (size_t i : checked_[r].inputs) touch(i, program.reads);
            for (size_t i : checked_[r].outputs) touch(i, program.writes);
        }
        program.inputs.assign(inputs.begin(), inputs.end());
        program.outputs.assign(outputs.begin(), outputs.end());
        program.streams.assign(streams.begin(), streams.end());
        program.rules = slot_rules(program.records);
        program.dead = dead_ranges(program.records);
        programs_[name] = std::move(program);
    }
}

std::vector<SlotRule> LoadedPlan::slot_rules(const Range& records) const {
    std::vector<SlotRule> rules;
    for (size_t r = records.from; r < records.to; r++) {
        for (const CheckedInput* checked = find_rules(plan_.records[r].op)->checked; checked->input >= 0; checked++) {
            const size_t slot = slot_of_[checked_[r].inputs[static_cast<size_t>(checked->input)]];
            const SlotRule rule{slot, r, checked->rule(checked_[r].operands)};
            const bool listed = std::any_of(rules.begin(), rules.end(), [&](const SlotRule& other) {
                return other.buffer == rule.buffer && other.rule == rule.rule;
            });
            if (!listed) rules.push_back(rule);
        }
    }
    return rules;
}

// A buffer dies with the last record that touches it or a window of it. One whose first use is a read is a view of memory that
// another buffer wrote, so while a view is concerned, both must be past before their common bytes are dead.
std::vector<std::vector<Range>> LoadedPlan::dead_ranges(const Range& records) const {
    struct Life {
        size_t buffer, first, last;
        bool view;
    };
    std::map<size_t, Life> lives;
    for (size_t r = records.from; r < records.to; r++) {
        auto touch = [&](size_t index, bool reads) {
            const size_t i = base_of(plan_, index);
            if (plan_.buffers[i].space != Space::arena) return;
            lives.try_emplace(i, Life{i, r, r, reads}).first->second.last = r;
        };
        for (size_t i : checked_[r].inputs) touch(i, true);
        for (size_t i : checked_[r].outputs) touch(i, false);
    }
    std::vector<Life> by_offset;
    for (const auto& entry : lives) by_offset.push_back(entry.second);
    auto offset = [&](const Life& life) { return plan_.buffers[life.buffer].offset; };
    auto end = [&](const Life& life) { return offset(life) + plan_.buffers[life.buffer].bytes; };
    std::sort(by_offset.begin(), by_offset.end(), [&](const Life& a, const Life& b) { return offset(a) < offset(b); });

    std::vector<std::vector<Range>> dead(records.to - records.from);
    for (const Life& life : by_offset) {
        bool shared = false;
        for (const Life& other : by_offset) {
            if (offset(other) >= end(life)) break;
            if (other.buffer == life.buffer || end(other) <= offset(life)) continue;
            const bool alive = (other.view || other.first <= life.last) && other.last > life.last;
            // Outputs made in place take over their input's bytes at the record that reads it last.
            shared = shared || (alive && (life.view || other.view || other.first == life.last));
        }
        if (!shared) dead[life.last - records.from].push_back({offset(life), end(life)});
    }
    return dead;
}

void LoadedPlan::check_input(const std::string& program, size_t buffer, std::span<const std::byte> data) const {
    const std::span values(reinterpret_cast<const int32_t*>(data.data()), data.size() / sizeof(int32_t));
    for (const SlotRule& rule : programs_.at(program).rules) {
        BadValue bad;
        if (rule.buffer != buffer || !find_bad_value(rule.rule, values, bad)) continue;
        throw std::out_of_range("plan '" + plan_.name + "' program '" + program + "': " + plan_.buffers[buffer].name + "[" +
                                std::to_string(bad.index) + "] is " + std::to_string(bad.value) + "; for " +
                                plan_.records[rule.record].describe(rule.record) + " " + bad.reason);
    }
}

const Program& LoadedPlan::program(const std::string& name) const {
    if (const auto program = programs_.find(name); program != programs_.end()) return program->second;
    std::vector<std::string> known;
    for (const auto& entry : programs_) known.push_back(entry.first);
    throw std::invalid_argument("plan '" + plan_.name + "' has no program '" + name + "'; it has " + join(known));
}

bool LoadedPlan::writes(const std::string& tensor) const {
    const auto use = tensors_.find(tensor);
    return use != tensors_.end() && use->second.written;
}

// --- The order of a step -----------------------------------------------------------------------------------------------

std::vector<size_t> LoadedPlan::next_steps() const {
    const size_t items = plan_.step.size();
    std::vector<size_t> next;
    if (step_at_ && plan_.step[*step_at_].repeat) next.push_back(*step_at_);
    for (size_t ahead = 0; ahead < items; ahead++) {
        const size_t item = ((step_at_ ? *step_at_ + 1 : 0) + ahead) % items;
        next.push_back(item);
        if (!plan_.step[item].optional) break;
    }
    return next;
}

void LoadedPlan::require_next(const std::string& program) const {
    if (plan_.step.empty()) return;
    std::vector<std::string> allowed;
    for (size_t item : next_steps()) {
        if (plan_.step[item].program == program) return;
        allowed.push_back("'" + plan_.step[item].program + "'");
    }
    throw std::runtime_error("plan '" + plan_.name + "': the program '" + program + "' cannot run " +
                             (step_at_ ? "after '" + plan_.step[*step_at_].program + "'" : "first in a step") + "; next is " + join(allowed));
}

void LoadedPlan::advance(const std::string& program) {
    if (plan_.step.empty()) return;
    for (size_t item : next_steps())
        if (plan_.step[item].program == program) {
            step_at_ = item;
            return;
        }
}

// --- The engine thread ---------------------------------------------------------------------------------------------------

void LoadedPlan::bind(const Device& device, char* arena, char* workspace) {
    if (bound_ && arena == arena_ && workspace == workspace_) return;
    bound_ = false;
    for (auto& segment : captured_) segment.reset();
    prepared_.clear();
    prepared_of_.assign(plan_.records.size(), NONE);
    addresses_.clear();
    for (const Buffer& buffer : plan_.buffers) {
        if (buffer.space == Space::arena) addresses_.push_back(arena + buffer.offset);
        else if (buffer.space == Space::tensor) addresses_.push_back(tensors_.at(buffer.name).tensor->memory.at(buffer.offset));
        else addresses_.push_back(nullptr);
    }
    for (size_t r = 0; r < checked_.size(); r++) {
        CheckedRecord& record = checked_[r];
        if (record.kind != CheckedRecord::Kind::kernel) continue;
        for (size_t i = 0; i < record.inputs.size(); i++) record.operands.in[i].data = addresses_[record.inputs[i]];
        for (size_t i = 0; i < record.outputs.size(); i++) record.operands.out[i].data = addresses_[record.outputs[i]];
        prepared_of_[r] = prepared_.size();
        prepared_.push_back(device.prepare(record.operands, workspace));
    }
    arena_ = arena;
    workspace_ = workspace;
    bound_ = true;
}

bool LoadedPlan::can_capture(size_t segment) const {
    const auto [records, loop] = plan_.segments[segment];
    if (loop || records.from == records.to) return false;
    for (size_t r = records.from; r < records.to; r++)
        if (plan_.records[r].stream != TEMPER_COMPUTE) return false;
    return true;
}

} // namespace temper
