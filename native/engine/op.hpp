// What an op is to the executor: a name, a check, its scratch, and its function. docs/plan-format.md gives the
// meaning of each op; the files of native/cpu implement them, one op a file.
#pragma once
#include "threads.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace temper {

enum class DType : uint8_t { f32, bf16, f16, i32 };

constexpr size_t bytes_of(DType dtype) { return dtype == DType::f32 || dtype == DType::i32 ? 4 : 2; }
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

enum class Accumulate : uint8_t { never, always, after_first };

// One record, checked and ready to run. Shapes and dtypes are fixed at load; `data` pointers are set before a run.
struct Call {
    std::vector<Tensor> in;
    std::vector<Tensor> out;
    Attrs attrs;
    Threads threads = {};
    void* workspace = nullptr; // at least what the op's workspace() said, 64-byte aligned
    bool first = false;        // the run's `first` option

    // True when this run adds to the output instead of overwriting it.
    bool accumulates() const {
        const std::string& mode = attrs.text("accumulate");
        return mode == "always" || (mode == "after_first" && !first);
    }
};

// The type of an attribute. An integer refuses a fraction: 1.9 heads are a mistake, not one head.
enum class AttrType : uint8_t { number, integer, flag, text, numbers, flags };

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

struct Op {
    const char* name;
    // Throws std::invalid_argument when counts, dtypes, shapes or values of attributes are not the op's.
    void (*check)(const Call&);
    // Bytes of scratch for this call on call.threads.count threads.
    size_t (*workspace)(const Call&);
    void (*run)(Call&);
    // What a record of this op has, all of it and nothing else; the list ends at the first without a key.
    Attribute attributes[8] = {};
    // Ends at the first whose output is -1.
    InPlace in_place[3] = {};
};

// Throws std::invalid_argument when the attributes are not exactly the op's, each of its type.
void check_attributes(const Op& op, const Attrs& attrs);

// Whether the op computes `output` correctly when it lies on `input`, one of `inputs`.
bool works_in_place(const Op& op, const Attrs& attrs, size_t output, size_t input, size_t inputs);

const char* name_of(AttrType type);

// The op of that name in the kernel set `isa`, or nullptr. Each kernel set registers its own table.
const Op* find_op(const std::string& isa, const std::string& name);

// The names of all ops, in the order of docs/plan-format.md.
std::vector<std::string> op_names();

// Kernel sets this CPU can run, best first; the last is always "portable".
std::vector<std::string> available_isas();

} // namespace temper
