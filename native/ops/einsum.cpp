// einsum: products of operands, summed over the letters that the result does not name.
#include "einsum.hpp"

#include "expect.hpp"

namespace temper {

// "td,vd->tv" → {"td", "vd"}, "tv". No letter stands twice in one operand.
static std::vector<std::string> split_operands(const Operands& record, const std::string& spec, std::string& result) {
    const size_t arrow = spec.find("->");
    expect(arrow != std::string::npos, record, "spec '" + spec + "' has no '->'");
    result = spec.substr(arrow + 2);
    std::vector<std::string> operands(1);
    for (char c : spec.substr(0, arrow)) {
        if (c == ',') operands.emplace_back();
        else operands.back() += c;
    }
    operands.push_back(result);
    for (const std::string& letters : operands)
        for (size_t i = 0; i < letters.size(); i++) {
            expect(letters[i] >= 'a' && letters[i] <= 'z', record, "spec '" + spec + "' names an axis that is not a letter from a to z");
            expect(letters.find(letters[i], i + 1) == std::string::npos, record, "spec '" + spec + "' names an axis twice in one operand");
        }
    operands.pop_back();
    return operands;
}

static Einsum::Letter* find_letter(Einsum& einsum, char name) {
    for (auto* letters : {&einsum.result, &einsum.summed})
        for (Einsum::Letter& letter : *letters)
            if (letter.name == name) return &letter;
    return nullptr;
}

static std::vector<int64_t> strides_of(const std::string& operand, const Tensor& tensor, const std::vector<Einsum::Letter>& letters) {
    std::vector<int64_t> strides;
    for (const Einsum::Letter& letter : letters) {
        const size_t at = operand.find(letter.name);
        int64_t stride = at == std::string::npos ? 0 : 1;
        for (size_t axis = at; stride != 0 && axis + 1 < tensor.shape.size(); axis++) stride *= tensor.shape[axis + 1];
        strides.push_back(stride);
    }
    return strides;
}

Einsum parse_einsum(const Operands& record) {
    const std::string& spec = record.attrs.text("spec");
    std::string result;
    const std::vector<std::string> operands = split_operands(record, spec, result);
    expect(!record.in.empty() && record.in.size() == operands.size() && record.out.size() == 1, record,
           "takes one output and as many inputs as its spec '" + spec + "'");
    expect(operands.size() <= Einsum::MAX_OPERANDS, record, "spec '" + spec + "' has too many operands");
    Einsum einsum;
    for (char name : result) einsum.result.push_back({name, -1});
    for (size_t i = 0; i < operands.size(); i++) {
        expect_rank(record, record.in[i], "an operand", operands[i].size());
        for (size_t axis = 0; axis < operands[i].size(); axis++) {
            const int64_t size = record.in[i].shape[axis];
            Einsum::Letter* letter = find_letter(einsum, operands[i][axis]);
            if (!letter) einsum.summed.push_back({operands[i][axis], size});
            else if (letter->size < 0) letter->size = size;
            else expect(letter->size == size, record, std::string("axis ") + letter->name + " has two sizes");
        }
    }
    expect(einsum.result.size() + einsum.summed.size() <= Einsum::MAX_LETTERS, record, "spec '" + spec + "' has too many axes");
    const Tensor& y = record.out[0];
    expect_rank(record, y, "y", einsum.result.size());
    for (size_t axis = 0; axis < einsum.result.size(); axis++) {
        const Einsum::Letter& letter = einsum.result[axis];
        expect(letter.size >= 0, record, std::string("axis ") + letter.name + " of the result is in no operand");
        expect(letter.size == y.shape[axis], record, std::string("y and the operands differ in axis ") + letter.name);
    }
    for (size_t i = 0; i < operands.size(); i++) {
        einsum.result_strides.push_back(strides_of(operands[i], record.in[i], einsum.result));
        einsum.summed_strides.push_back(strides_of(operands[i], record.in[i], einsum.summed));
    }
    return einsum;
}

static void check(const Operands& record) {
    parse_einsum(record);
    for (const Tensor& x : record.in) expect_weight(record, x, "every operand");
    expect_float(record, record.out[0], "y");
}

extern const OpRules einsum_rules = {"einsum", check,
    {{"x", true}}, {{"y"}}, {{"spec", AttrType::text}}};

} // namespace temper
