// A plan as data: docs/plan-format.md, read from JSON and checked as far as that goes without tensors or ops.
#pragma once
#include "../ops/op.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

enum class Space : uint8_t { arena, tensor, input, output };

struct Buffer {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    Space space;
    size_t offset; // into the arena, a multiple of 64; 0 in the other spaces
    size_t bytes;
};

struct Record {
    std::string op;
    std::vector<size_t> inputs; // indices into Plan::buffers
    std::vector<size_t> outputs;
    Attrs attrs;
};

struct Range {
    size_t from, to; // half-open
};

struct Plan {
    std::string name;
    std::string digest;
    size_t arena_bytes = 0;
    std::vector<Buffer> buffers;
    std::vector<Record> records;
    std::map<std::string, Range> programs; // ranges of records
};

constexpr int PLAN_VERSION = 1;

// Throws std::invalid_argument that names the plan, the place in it and what is wrong there.
Plan parse_plan(std::string_view json);

} // namespace temper
