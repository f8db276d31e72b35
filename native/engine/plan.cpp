#include "plan.hpp"

#include "json.hpp"
#include "memory.hpp"

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

Buffer buffer(const Json& json, const std::string& where, size_t arena_bytes) {
    const auto& fields = object(json, where, {"name", "dtype", "shape", "space", "offset"});
    Buffer buffer;
    buffer.name = text(fields.at("name"), where + ".name");
    const std::string named = where + " '" + buffer.name + "'";
    buffer.dtype = dtype_of(text(fields.at("dtype"), named + ".dtype"));
    for (const Json& d : expect<Json::Array>(fields.at("shape"), named + ".shape", "an array"))
        buffer.shape.push_back(integer(d, named + ".shape"));
    buffer.space = space_of(text(fields.at("space"), named + ".space"), named);
    buffer.bytes = checked_bytes(named, buffer.dtype, buffer.shape);
    buffer.offset = 0;
    if (buffer.space != Space::arena) {
        if (!fields.at("offset").is_null()) fail(named, "only buffers of the arena have an offset");
        return buffer;
    }
    buffer.offset = count(fields.at("offset"), named + ".offset");
    if (buffer.offset % ALIGNMENT != 0) fail(named, "its offset is not a multiple of 64");
    if (buffer.offset > arena_bytes || buffer.bytes > arena_bytes - buffer.offset)
        fail(named, "ends past the arena's " + std::to_string(arena_bytes) + " bytes");
    return buffer;
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

std::vector<size_t> buffer_indices(const Json& json, const std::string& where, size_t buffers) {
    std::vector<size_t> indices;
    for (const Json& item : expect<Json::Array>(json, where, "an array")) {
        const size_t index = count(item, where);
        if (index >= buffers) fail(where, "there is no buffer " + std::to_string(index));
        indices.push_back(index);
    }
    return indices;
}

bool overlap(const Buffer& a, const Buffer& b) {
    if (a.space != b.space) return false;
    if (a.space != Space::arena) return a.name == b.name;
    return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

// Two outputs never share memory. An output may be an input's very range where its op says so (LoadedPlan asks it), never
// a part of it.
void check_overlap(const Record& record, const std::vector<Buffer>& buffers, const std::string& where) {
    for (size_t i = 0; i < record.outputs.size(); i++) {
        const Buffer& out = buffers[record.outputs[i]];
        if (out.space == Space::input) fail(where, "writes the input slot '" + out.name + "'");
        for (size_t j = 0; j < i; j++)
            if (overlap(out, buffers[record.outputs[j]]))
                fail(where, "the outputs '" + out.name + "' and '" + buffers[record.outputs[j]].name + "' overlap");
        for (size_t input : record.inputs) {
            const Buffer& in = buffers[input];
            if (overlap(out, in) && (out.offset != in.offset || out.bytes != in.bytes))
                fail(where, "the output '" + out.name + "' covers a part of the input '" + in.name + "'");
        }
    }
}

Record record(const Json& json, const std::string& where, const std::vector<Buffer>& buffers) {
    const auto& fields = object(json, where, {"op", "inputs", "outputs", "attrs"});
    Record record;
    record.op = text(fields.at("op"), where + ".op");
    const std::string named = where + " (" + record.op + ")";
    record.inputs = buffer_indices(fields.at("inputs"), named + ".inputs", buffers.size());
    record.outputs = buffer_indices(fields.at("outputs"), named + ".outputs", buffers.size());
    record.attrs.op = record.op;
    for (const auto& [key, value] : expect<Json::Object>(fields.at("attrs"), named + ".attrs", "an object"))
        record.attrs.values.emplace(key, attribute(value, named + ".attrs." + key));
    if (const auto mode = record.attrs.values.find("accumulate"); mode != record.attrs.values.end()) {
        const std::string& value = record.attrs.text("accumulate");
        if (value != "never" && value != "always" && value != "after_first")
            fail(named, "accumulate is '" + value + "', not never, always or after_first");
    }
    check_overlap(record, buffers, named);
    return record;
}

Range program(const Json& json, const std::string& where, size_t records) {
    const auto& ends = expect<Json::Array>(json, where, "an array");
    if (ends.size() != 2) fail(where, "expected [from, to)");
    const Range range{count(ends[0], where), count(ends[1], where)};
    if (range.from > range.to || range.to > records) fail(where, "is not a range of the " + std::to_string(records) + " records");
    return range;
}

// What the host addresses by name must be one buffer.
void check_slots(const std::vector<Buffer>& buffers, const std::string& where) {
    std::set<std::pair<Space, std::string>> seen;
    for (const Buffer& buffer : buffers)
        if (buffer.space == Space::input || buffer.space == Space::output)
            if (!seen.emplace(buffer.space, buffer.name).second) fail(where, "two slots are called '" + buffer.name + "'");
}

} // namespace

Plan parse_plan(std::string_view json) {
    const Json document = parse_json(json);
    const auto& fields = object(document, "plan", {"version", "digest", "name", "arenaBytes", "buffers", "records", "programs"});
    if (const int64_t version = integer(fields.at("version"), "plan.version"); version != PLAN_VERSION)
        fail("plan", "version " + std::to_string(version) + " is not " + std::to_string(PLAN_VERSION) + ", which this engine runs");
    Plan plan;
    plan.name = text(fields.at("name"), "plan.name");
    const std::string where = "plan '" + plan.name + "'";
    plan.digest = text(fields.at("digest"), where + ".digest");
    plan.arena_bytes = count(fields.at("arenaBytes"), where + ".arenaBytes");
    const auto& buffers = expect<Json::Array>(fields.at("buffers"), where + ".buffers", "an array");
    for (const Json& item : buffers)
        plan.buffers.push_back(buffer(item, where + " buffer " + std::to_string(plan.buffers.size()), plan.arena_bytes));
    check_slots(plan.buffers, where);
    for (const Json& item : expect<Json::Array>(fields.at("records"), where + ".records", "an array"))
        plan.records.push_back(record(item, where + " record " + std::to_string(plan.records.size()), plan.buffers));
    for (const auto& [name, range] : expect<Json::Object>(fields.at("programs"), where + ".programs", "an object"))
        plan.programs.emplace(name, program(range, where + " program '" + name + "'", plan.records.size()));
    return plan;
}

} // namespace temper
