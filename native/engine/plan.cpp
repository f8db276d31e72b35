#include "plan.hpp"

#include "json.hpp"
#include "memory.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>

namespace temper {

namespace {

[[noreturn]] void fail(const std::string& where, const std::string& what) {
    throw std::invalid_argument(where + ": " + what);
}

// Readers of one value each. `where` is the place in the plan, for the error.
template <class T> const T& expect(const Json& json, const std::string& where, const char* type) {
    if (const T* value = json.as<T>()) return *value;
    fail(where, std::string("expected ") + type);
}

const std::string& text(const Json& json, const std::string& where) {
    return expect<std::string>(json, where, "a string");
}

int64_t integer(const Json& json, const std::string& where) {
    const double value = expect<double>(json, where, "a number");
    if (value != std::floor(value) || std::fabs(value) > 9007199254740991.0) fail(where, "expected an integer");
    return static_cast<int64_t>(value);
}

size_t count(const Json& json, const std::string& where) {
    const int64_t value = integer(json, where);
    if (value < 0) fail(where, "is negative");
    return static_cast<size_t>(value);
}

// An object with exactly these keys: a key that this version does not know may change what the others mean.
const Json::Object& object(const Json& json, const std::string& where, std::initializer_list<const char*> keys) {
    const auto& object = expect<Json::Object>(json, where, "an object");
    for (const char* key : keys)
        if (!object.contains(key)) fail(where, std::string("'") + key + "' is missing");
    for (const auto& [key, value] : object) {
        bool known = false;
        for (const char* k : keys) known = known || key == k;
        if (!known) fail(where, "unknown key '" + key + "'");
    }
    return object;
}

Space space_of(const std::string& name, const std::string& where) {
    if (name == "arena") return Space::arena;
    if (name == "tensor") return Space::tensor;
    if (name == "input") return Space::input;
    if (name == "output") return Space::output;
    fail(where, "unknown space '" + name + "'");
}

Buffer buffer(const Json& json, const std::string& where, const Plan& plan) {
    const auto& fields = object(json, where, {"name", "dtype", "shape", "space", "offset", "view"});
    Buffer buffer{};
    buffer.name = text(fields.at("name"), where + ".name");
    const std::string named = where + " '" + buffer.name + "'";
    buffer.dtype = dtype_of(text(fields.at("dtype"), named + ".dtype"));
    for (const Json& d : expect<Json::Array>(fields.at("shape"), named + ".shape", "an array"))
        buffer.shape.push_back(integer(d, named + ".shape"));
    buffer.space = space_of(text(fields.at("space"), named + ".space"), named);
    buffer.bytes = checked_bytes(named, buffer.dtype, buffer.shape);
    if (!fields.at("view").is_null()) {
        const auto& view = object(fields.at("view"), named + ".view", {"of", "row"});
        buffer.window = Window{count(view.at("of"), named + ".view.of"), count(view.at("row"), named + ".view.row")};
    }
    if (buffer.space != Space::arena || buffer.window) {
        if (!fields.at("offset").is_null()) fail(named, "only buffers of the arena that are no windows have an offset");
        return buffer;
    }
    buffer.offset = count(fields.at("offset"), named + ".offset");
    if (buffer.offset % plan.alignment != 0) fail(named, "its offset is not a multiple of " + std::to_string(plan.alignment));
    if (buffer.offset > plan.arena_bytes || buffer.bytes > plan.arena_bytes - buffer.offset)
        fail(named, "ends past the arena's " + std::to_string(plan.arena_bytes) + " bytes");
    return buffer;
}

// Windows lie within their base, and get its name and, in the arena, an offset.
void resolve_windows(std::vector<Buffer>& buffers, const std::string& where) {
    for (size_t i = 0; i < buffers.size(); i++) {
        Buffer& window = buffers[i];
        if (!window.window) continue;
        const std::string named = where + " buffer " + std::to_string(i) + " '" + window.name + "'";
        const auto [of, row] = *window.window;
        if (of >= buffers.size()) fail(named, "there is no buffer " + std::to_string(of));
        const Buffer& base = buffers[of];
        if (base.window) fail(named, "is a window of a window");
        if (window.space != Space::arena && window.space != Space::tensor) fail(named, "a slot is no window");
        if (base.space != window.space || base.dtype != window.dtype || base.name != window.name)
            fail(named, "differs from its base '" + base.name + "' in space, dtype or name");
        const bool same_rows = !window.shape.empty() && window.shape.size() == base.shape.size() &&
                               std::equal(window.shape.begin() + 1, window.shape.end(), base.shape.begin() + 1);
        if (!same_rows) fail(named, "has other rows than its base");
        const size_t rows = static_cast<size_t>(base.shape.front()), wanted = static_cast<size_t>(window.shape.front());
        if (row > rows || wanted > rows - row) fail(named, "ends past the " + std::to_string(rows) + " rows of its base");
        window.offset = base.offset + row * (base.bytes / rows);
    }
}

Attr attribute(const Json& json, const std::string& where) {
    if (const double* number = json.as<double>()) return *number;
    if (const bool* flag = json.as<bool>()) return *flag;
    if (const std::string* text = json.as<std::string>()) return *text;
    const auto& items = expect<Json::Array>(json, where, "a number, a boolean, a string or an array of one of the first two");
    if (!items.empty() && items.front().as<bool>()) {
        std::vector<bool> flags;
        for (const Json& item : items) flags.push_back(expect<bool>(item, where, "booleans alone"));
        return flags;
    }
    std::vector<double> numbers;
    for (const Json& item : items) numbers.push_back(expect<double>(item, where, "numbers alone or booleans alone"));
    return numbers;
}

std::vector<size_t> indices(const Json& json, const std::string& where, size_t count_of, const char* of) {
    std::vector<size_t> indices;
    for (const Json& item : expect<Json::Array>(json, where, "an array")) {
        const size_t index = count(item, where);
        if (index >= count_of) fail(where, std::string("there is no ") + of + " " + std::to_string(index));
        indices.push_back(index);
    }
    return indices;
}

OperandGroups operands(const Json& json, const std::string& where, size_t buffers) {
    OperandGroups groups;
    for (const auto& [name, group] : expect<Json::Object>(json, where, "an object"))
        groups.emplace(name, indices(group, where + "." + name, buffers, "buffer"));
    return groups;
}

When when_of(const std::string& name, const std::string& where) {
    if (name == "always") return When::always;
    if (name == "first") return When::first;
    if (name == "last") return When::last;
    fail(where, "when is '" + name + "', not always, first or last");
}

Record record(const Json& json, const std::string& where, const Plan& plan) {
    const auto& fields = object(json, where, {"op", "inputs", "outputs", "attrs", "stream", "waits", "signals", "when", "phase", "scope"});
    Record record{};
    record.op = text(fields.at("op"), where + ".op");
    const std::string named = where + " (" + record.op + ")";
    record.inputs = operands(fields.at("inputs"), named + ".inputs", plan.buffers.size());
    record.outputs = operands(fields.at("outputs"), named + ".outputs", plan.buffers.size());
    record.attrs.op = record.op;
    for (const auto& [key, value] : expect<Json::Object>(fields.at("attrs"), named + ".attrs", "an object"))
        record.attrs.values.emplace(key, attribute(value, named + ".attrs." + key));
    if (const auto mode = record.attrs.values.find("accumulate"); mode != record.attrs.values.end()) {
        const std::string& value = record.attrs.text("accumulate");
        if (value != "never" && value != "always" && value != "after_first")
            fail(named, "accumulate is '" + value + "', not never, always or after_first");
    }
    const size_t stream = count(fields.at("stream"), named + ".stream");
    if (stream >= PLAN_STREAMS) fail(named, "there is no stream " + std::to_string(stream));
    record.stream = static_cast<int>(stream);
    record.waits = indices(fields.at("waits"), named + ".waits", plan.events.size(), "event");
    record.signals = indices(fields.at("signals"), named + ".signals", plan.events.size(), "event");
    record.when = when_of(text(fields.at("when"), named + ".when"), named);
    record.phase = text(fields.at("phase"), named + ".phase");
    record.scope = text(fields.at("scope"), named + ".scope");
    return record;
}

Segment segment(const Json& json, const std::string& where, const Plan& plan) {
    const auto& fields = object(json, where, {"from", "to", "loop"});
    const size_t begin = plan.segments.empty() ? 0 : plan.segments.back().records.to;
    Segment segment{{count(fields.at("from"), where + ".from"), count(fields.at("to"), where + ".to")}, {}};
    if (segment.records.from != begin) fail(where, "begins at record " + std::to_string(segment.records.from) + ", not at " + std::to_string(begin));
    if (segment.records.to < begin || segment.records.to > plan.records.size())
        fail(where, "is not a range of the " + std::to_string(plan.records.size()) + " records");
    if (fields.at("loop").is_null()) return segment;
    const auto& loop = object(fields.at("loop"), where + ".loop", {"count", "max"});
    const size_t slot = count(loop.at("count"), where + ".loop.count");
    if (slot >= plan.buffers.size()) fail(where, "there is no buffer " + std::to_string(slot));
    const Buffer& buffer = plan.buffers[slot];
    if (buffer.space != Space::input || buffer.dtype != DType::i32 || buffer.shape != std::vector<int64_t>{1})
        fail(where, "its count '" + buffer.name + "' is not an input slot i32 [1]");
    segment.loop = Loop{slot, static_cast<int64_t>(count(loop.at("max"), where + ".loop.max"))};
    for (size_t r = segment.records.from; r < segment.records.to; r++)
        if (plan.records[r].stream != 0) fail(where, "a loop has records of the compute stream alone");
    return segment;
}

Range program(const Json& json, const std::string& where, size_t segments) {
    const auto& ends = expect<Json::Array>(json, where, "an array");
    if (ends.size() != 2) fail(where, "expected [from, to)");
    const Range range{count(ends[0], where), count(ends[1], where)};
    if (range.from > range.to || range.to > segments) fail(where, "is not a range of the " + std::to_string(segments) + " segments");
    return range;
}

StepItem step_item(const Json& json, const std::string& where, const Plan& plan) {
    const auto& fields = object(json, where, {"program", "repeat", "optional"});
    StepItem item{text(fields.at("program"), where + ".program"), expect<bool>(fields.at("repeat"), where + ".repeat", "a boolean"),
                  expect<bool>(fields.at("optional"), where + ".optional", "a boolean")};
    if (!plan.programs.contains(item.program)) fail(where, "there is no program '" + item.program + "'");
    return item;
}

// What the host addresses by name must be one buffer.
void check_slots(const std::vector<Buffer>& buffers, const std::string& where) {
    std::set<std::pair<Space, std::string>> seen;
    for (const Buffer& buffer : buffers)
        if (buffer.space == Space::input || buffer.space == Space::output)
            if (!seen.emplace(buffer.space, buffer.name).second) fail(where, "two slots are called '" + buffer.name + "'");
}

} // namespace

std::string Record::describe(size_t index) const {
    std::string text = "record " + std::to_string(index) + " (" + op;
    if (!phase.empty()) text += ", " + phase;
    if (!scope.empty()) text += " " + scope;
    return text + ")";
}

Plan parse_plan(std::string_view json) {
    const Json document = parse_json(json);
    if (const auto* all = document.as<Json::Object>(); all && all->contains("version"))
        if (const int64_t version = integer(all->at("version"), "plan.version"); version != PLAN_VERSION)
            fail("plan", "version " + std::to_string(version) + " is not " + std::to_string(PLAN_VERSION) + ", which this engine runs");
    const auto& fields = object(document, "plan", {"version", "digest", "name", "alignment", "arenaBytes", "buffers", "events", "records",
                                                   "segments", "programs", "step"});
    Plan plan;
    plan.name = text(fields.at("name"), "plan.name");
    const std::string where = "plan '" + plan.name + "'";
    plan.digest = text(fields.at("digest"), where + ".digest");
    plan.alignment = count(fields.at("alignment"), where + ".alignment");
    if (plan.alignment == 0 || plan.alignment % ALIGNMENT != 0) fail(where, "its alignment is not a multiple of " + std::to_string(ALIGNMENT));
    plan.arena_bytes = count(fields.at("arenaBytes"), where + ".arenaBytes");
    for (const Json& item : expect<Json::Array>(fields.at("buffers"), where + ".buffers", "an array"))
        plan.buffers.push_back(buffer(item, where + " buffer " + std::to_string(plan.buffers.size()), plan));
    resolve_windows(plan.buffers, where);
    check_slots(plan.buffers, where);
    for (const Json& item : expect<Json::Array>(fields.at("events"), where + ".events", "an array"))
        plan.events.push_back(text(item, where + ".events"));
    for (const Json& item : expect<Json::Array>(fields.at("records"), where + ".records", "an array"))
        plan.records.push_back(record(item, where + " record " + std::to_string(plan.records.size()), plan));
    for (const Json& item : expect<Json::Array>(fields.at("segments"), where + ".segments", "an array"))
        plan.segments.push_back(segment(item, where + " segment " + std::to_string(plan.segments.size()), plan));
    if (!plan.segments.empty() ? plan.segments.back().records.to != plan.records.size() : !plan.records.empty())
        fail(where, "its segments leave records out");
    for (const auto& [name, range] : expect<Json::Object>(fields.at("programs"), where + ".programs", "an object"))
        plan.programs.emplace(name, program(range, where + " program '" + name + "'", plan.segments.size()));
    for (const Json& item : expect<Json::Array>(fields.at("step"), where + ".step", "an array"))
        plan.step.push_back(step_item(item, where + " step " + std::to_string(plan.step.size()), plan));
    return plan;
}

} // namespace temper
