// A plan as data: docs/plan-format.md, read from JSON and checked as far as that goes without tensors or ops.
#pragma once
#include "../ops/op.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

enum class Space : uint8_t { arena, tensor, input, output };

// Rows of another buffer.
struct Window {
    size_t of; // index of the buffer, which is no window itself
    size_t row;
};

struct Buffer {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    Space space;
    size_t offset; // bytes: in the arena into it, of a window into its base; else 0
    size_t bytes;
    std::optional<Window> window;
};

enum class When : uint8_t { always, first, last };

struct Record {
    std::string op;
    OperandGroups inputs, outputs; // indices into Plan::buffers
    Attrs attrs;
    int stream;                         // as TEMPER_COMPUTE … TEMPER_DOWNLOAD
    std::vector<size_t> waits, signals; // indices into Plan::events
    When when;
    std::string phase, scope;

    // "record 12 (matmul, backward layers.3)"
    std::string describe(size_t index) const;
};

struct Range {
    size_t from, to; // half-open
};

struct Loop {
    size_t count; // buffer of the input slot that says how often
    int64_t max;
};

// Records that are captured together, or run in turns.
struct Segment {
    Range records;
    std::optional<Loop> loop;
};

struct StepItem {
    std::string program;
    bool repeat, optional;
};

struct Plan {
    std::string name;
    std::string digest;
    size_t alignment = 0; // of offsets in the arena, bytes
    size_t arena_bytes = 0;
    std::vector<Buffer> buffers;
    std::vector<std::string> events;
    std::vector<Record> records;
    std::vector<Segment> segments;
    std::map<std::string, Range> programs; // ranges of segments
    std::vector<StepItem> step;            // the order of programs, over and over; empty: any order
};

constexpr int PLAN_VERSION = 2;
constexpr int PLAN_STREAMS = 5;

// Throws std::invalid_argument that names the plan, the place in it and what is wrong there.
Plan parse_plan(std::string_view json);

} // namespace temper
