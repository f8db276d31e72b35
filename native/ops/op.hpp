// What an op is to every backend: its operands, its attributes, and what the values of its input slots may be.
// docs/plan-format.md gives the meaning of each op; a file of this folder has the rules of one op or of a family.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace temper {

enum class DType : uint8_t { f32, bf16, f16, f64, i32, u8, i8, f8e4m3, f8e5m2 }; // as in backend.h
constexpr DType ALL_DTYPES[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i32,
                                DType::u8, DType::i8, DType::f8e4m3, DType::f8e5m2};

constexpr size_t bytes_of(DType dtype) {
    switch (dtype) {
    case DType::f64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    default: return 1;
    }
}
const char* name_of(DType dtype);

// A tensor as an op sees it: row-major, contiguous, 64-byte aligned unless mapped from a file.
struct Tensor {
    DType dtype = DType::f32;
    std::vector<int64_t> shape;
    void* data = nullptr;

    int64_t elements() const {
        int64_t n = 1;
        for (int64_t d : shape) n *= d;
        return n;
    }
    size_t bytes() const { return static_cast<size_t>(elements()) * bytes_of(dtype); }
    template <class T> T* as() const { return static_cast<T*>(data); }
};

using Attr = std::variant<double, bool, std::string, std::vector<double>, std::vector<bool>>;

// The attributes of a record, with readers that name the op and the key when one is missing or of another type.
struct Attrs {
    std::string op;
    std::map<std::string, Attr> values;

    template <class T> const T& get(const std::string& key) const {
        auto it = values.find(key);
        if (it == values.end()) throw std::invalid_argument(op + ": attribute '" + key + "' is missing");
        if (const T* value = std::get_if<T>(&it->second)) return *value;
        throw std::invalid_argument(op + ": attribute '" + key + "' has another type than expected");
    }
    double number(const std::string& key) const { return get<double>(key); }
    int64_t integer(const std::string& key) const { return static_cast<int64_t>(get<double>(key)); }
    bool flag(const std::string& key) const { return get<bool>(key); }
    const std::string& text(const std::string& key) const { return get<std::string>(key); }
};

// A record with its operands. Shapes and dtypes are all that rules read.
struct Operands {
    std::vector<Tensor> in;
    std::vector<Tensor> out;
    Attrs attrs;
};

// What a run does with an output that it may add to: the attribute `accumulate`.
enum class Accumulate : uint8_t { never, always, after_first };
Accumulate accumulate_mode(const Attrs& attrs); // throws std::invalid_argument on another text

// True when this run adds to the output instead of overwriting it; `first` is the run's option.
constexpr bool adds(Accumulate mode, bool first) {
    return mode == Accumulate::always || (mode == Accumulate::after_first && !first);
}

// What the factors of a product are multiplied as: the attribute `compute`. bf16: each factor is rounded to bfloat16
// (to nearest, ties to even); their products are accumulated in float32 either way.
enum class Compute : uint8_t { f32, bf16 };
Compute compute_type(const Attrs& attrs); // throws std::invalid_argument on another text

// The type of an attribute. An integer refuses a fraction: 1.9 heads are a mistake, not one head.
enum class AttrType : uint8_t { number, integer, flag, text, numbers, flags };
const char* name_of(AttrType type);

struct Attribute {
    const char* key = nullptr;
    AttrType type = AttrType::number;
};

// An output that may lie on exactly an input's range. A negative `input` counts from the last; with `when`, only where
// that flag of the record is true.
struct InPlace {
    int output = -1;
    int input = 0;
    const char* when = nullptr;
};

// What an i32 operand may hold, so that no kernel reads or writes past a tensor.
struct ValueRule {
    enum class Kind : uint8_t {
        range, // every value lies in [from, to) or is `other`
        spans, // pairs (first, last) of [0, to), first ≤ last, neither less than in the pair before
    };
    Kind kind = Kind::range;
    int64_t from = 0, to = 0;
    int64_t other = 0; // a value of the range where there is no other

    bool operator==(const ValueRule&) const = default;
};

// The first value that breaks the rule, and why.
struct BadValue {
    size_t index;
    int32_t value;
    std::string reason; // "it must lie in [0, 5)"
};
// False when every value keeps the rule.
bool find_bad_value(const ValueRule& rule, std::span<const int32_t> values, BadValue& bad);

// An operand whose values decide what memory the op touches. They come from an input slot, and are checked when a run is asked for.
struct CheckedInput {
    int input = -1;
    ValueRule (*rule)(const Operands&) = nullptr;
};

// A group of a record's operands. Groups of many come before those of one and have as many operands as each other; in
// `Operands` they alternate, as the factors of a matmul's products do: a₀, b₀, a₁, b₁, …
struct Group {
    const char* name = nullptr;
    bool many = false;
    const char* when = nullptr; // the flag of the record with which it is there; always, where there is none
};

struct OpRules {
    const char* name;
    // Throws std::invalid_argument when counts, dtypes, shapes or values of attributes are not the op's.
    void (*check)(const Operands&);
    // The groups of operands, in order; each list ends at the first without a name.
    Group inputs[9], outputs[4];
    // What a record of this op has, all of it and nothing else; the list ends at the first without a key.
    Attribute attributes[8] = {};
    // Ends at the first whose output is -1.
    InPlace in_place[3] = {};
    // Ends at the first whose input is -1.
    CheckedInput checked[2] = {};
};

// The rules of the op of that name, or nullptr.
const OpRules* find_rules(const std::string& name);

// The names of all ops, in the order of docs/plan-format.md.
std::vector<std::string> op_names();

// Throws std::invalid_argument when the attributes are not exactly the op's, each of its type.
void check_attributes(const OpRules& rules, const Attrs& attrs);

// Operands by group, as indices into a plan's buffers.
using OperandGroups = std::map<std::string, std::vector<size_t>, std::less<>>;

// The operands in the order of `Operands`. Throws std::invalid_argument when the groups are not those of the list.
std::vector<size_t> flatten(const Group* groups, const Attrs& attrs, const OperandGroups& given);

// Whether the op computes `output` correctly when it lies on `input`, one of `inputs`.
bool works_in_place(const OpRules& rules, const Attrs& attrs, size_t output, size_t input, size_t inputs);

} // namespace temper
