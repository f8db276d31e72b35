#include "op.hpp"

#include "list.hpp"

#include <cmath>

namespace temper {

#define DECLARE_RULES(name) extern const OpRules name##_rules;
TEMPER_OPS(DECLARE_RULES)
TEMPER_MOVES(DECLARE_RULES)

static const std::vector<const OpRules*>& all_rules() {
#define ADDRESS(name) &name##_rules,
    static const std::vector<const OpRules*> rules = {TEMPER_OPS(ADDRESS) TEMPER_MOVES(ADDRESS)};
    return rules;
}

const OpRules* find_rules(const std::string& name) {
    for (const OpRules* rules : all_rules())
        if (name == rules->name) return rules;
    return nullptr;
}

std::vector<std::string> op_names() {
    std::vector<std::string> names;
    for (const OpRules* rules : all_rules()) names.push_back(rules->name);
    return names;
}

// --- Attributes ------------------------------------------------------------------------------------------------------

const char* name_of(AttrType type) {
    switch (type) {
    case AttrType::number: return "number";
    case AttrType::integer: return "integer";
    case AttrType::flag: return "flag";
    case AttrType::text: return "text";
    case AttrType::numbers: return "numbers";
    case AttrType::flags: return "flags";
    }
    return "";
}

static bool has_type(const Attr& value, AttrType type) {
    switch (type) {
    case AttrType::number: return std::holds_alternative<double>(value);
    case AttrType::integer:
        return std::holds_alternative<double>(value) && std::get<double>(value) == std::floor(std::get<double>(value)) &&
               std::fabs(std::get<double>(value)) <= 9007199254740991.0;
    case AttrType::flag: return std::holds_alternative<bool>(value);
    case AttrType::text: return std::holds_alternative<std::string>(value);
    case AttrType::numbers: return std::holds_alternative<std::vector<double>>(value);
    case AttrType::flags: return std::holds_alternative<std::vector<bool>>(value);
    }
    return false;
}

void check_attributes(const OpRules& rules, const Attrs& attrs) {
    size_t known = 0;
    for (const Attribute* attribute = rules.attributes; attribute->key; attribute++, known++) {
        const auto given = attrs.values.find(attribute->key);
        if (given == attrs.values.end())
            throw std::invalid_argument(std::string("the attribute '") + attribute->key + "' is missing");
        if (!has_type(given->second, attribute->type))
            throw std::invalid_argument(std::string("the attribute '") + attribute->key + "' is not of type " +
                                        name_of(attribute->type));
    }
    if (known == attrs.values.size()) return;
    std::string keys;
    for (const Attribute* attribute = rules.attributes; attribute->key; attribute++)
        keys += (keys.empty() ? "" : ", ") + std::string(attribute->key);
    for (const auto& [key, value] : attrs.values) {
        bool listed = false;
        for (const Attribute* attribute = rules.attributes; attribute->key; attribute++) listed = listed || key == attribute->key;
        if (!listed)
            throw std::invalid_argument("unknown attribute '" + key + "'; this engine knows " + (keys.empty() ? "none" : keys));
    }
}

Accumulate accumulate_mode(const Attrs& attrs) {
    const std::string& mode = attrs.text("accumulate");
    if (mode == "never") return Accumulate::never;
    if (mode == "always") return Accumulate::always;
    if (mode == "after_first") return Accumulate::after_first;
    throw std::invalid_argument(attrs.op + ": accumulate is '" + mode + "'; it must be 'never', 'always' or 'after_first'");
}

Compute compute_type(const Attrs& attrs) {
    const std::string& name = attrs.text("compute");
    if (name == "f32") return Compute::f32;
    if (name == "bf16") return Compute::bf16;
    throw std::invalid_argument(attrs.op + ": compute is '" + name + "'; it must be 'f32' or 'bf16'");
}

// --- Operands --------------------------------------------------------------------------------------------------------

std::vector<size_t> flatten(const Group* groups, const Attrs& attrs, const OperandGroups& given) {
    std::vector<const std::vector<size_t>*> many;
    std::vector<size_t> single;
    size_t present = 0;
    std::string names;
    for (const Group* group = groups; group->name; group++) {
        if (group->when && !attrs.flag(group->when)) continue;
        names += (names.empty() ? "" : ", ") + std::string(group->name);
        const auto operands = given.find(group->name);
        if (operands == given.end()) throw std::invalid_argument(std::string("the operand '") + group->name + "' is missing");
        present++;
        if (group->many) {
            many.push_back(&operands->second);
            continue;
        }
        if (operands->second.size() != 1)
            throw std::invalid_argument(std::string("'") + group->name + "' is one operand, not " + std::to_string(operands->second.size()));
        single.push_back(operands->second.front());
    }
    if (present != given.size()) {
        std::string unknown;
        for (const auto& [name, operands] : given) {
            bool listed = false;
            for (const Group* group = groups; group->name; group++)
                listed = listed || (name == group->name && (!group->when || attrs.flag(group->when)));
            if (!listed) unknown += (unknown.empty() ? "'" : ", '") + name + "'";
        }
        throw std::invalid_argument("unknown operands " + unknown + "; the record takes " + (names.empty() ? "none" : names));
    }
    std::vector<size_t> flat;
    for (size_t turn = 0; !many.empty() && turn < many.front()->size(); turn++)
        for (const auto* operands : many) {
            if (operands->size() != many.front()->size()) throw std::invalid_argument("the operands of " + names + " differ in number");
            flat.push_back((*operands)[turn]);
        }
    for (const auto* operands : many)
        if (operands->size() != many.front()->size()) throw std::invalid_argument("the operands of " + names + " differ in number");
    flat.insert(flat.end(), single.begin(), single.end());
    return flat;
}

bool works_in_place(const OpRules& rules, const Attrs& attrs, size_t output, size_t input, size_t inputs) {
    for (const InPlace* pair = rules.in_place; pair->output >= 0; pair++) {
        const size_t on = pair->input < 0 ? inputs - static_cast<size_t>(-pair->input) : static_cast<size_t>(pair->input);
        if (static_cast<size_t>(pair->output) == output && on == input && (!pair->when || attrs.flag(pair->when))) return true;
    }
    return false;
}

static bool find_outside(const ValueRule& rule, std::span<const int32_t> values, BadValue& bad) {
    for (size_t i = 0; i < values.size(); i++) {
        const int64_t value = values[i];
        if ((value >= rule.from && value < rule.to) || value == rule.other) continue;
        std::string reason = rule.from == INT32_MIN
                                 ? "it must be below " + std::to_string(rule.to)
                                 : "it must lie in [" + std::to_string(rule.from) + ", " + std::to_string(rule.to) + ")";
        if (rule.other < rule.from) reason += " or be " + std::to_string(rule.other);
        bad = {i, values[i], std::move(reason)};
        return true;
    }
    return false;
}

static bool find_bad_span(const ValueRule& rule, std::span<const int32_t> values, BadValue& bad) {
    for (size_t i = 0; i < values.size(); i++) {
        const bool is_last = i % 2 == 1;
        std::string reason;
        if (values[i] < 0 || values[i] >= rule.to) reason = "it must lie in [0, " + std::to_string(rule.to) + ")";
        else if (i >= 2 && values[i] < values[i - 2])
            reason = "it must be at least that of the token before, " + std::to_string(values[i - 2]);
        else if (is_last && values[i] < values[i - 1]) reason = "it must be at least the first key, " + std::to_string(values[i - 1]);
        else continue;
        bad = {i, values[i], "(the " + std::string(is_last ? "last" : "first") + " key of token " + std::to_string(i / 2) + ") " + reason};
        return true;
    }
    return false;
}

bool find_bad_value(const ValueRule& rule, std::span<const int32_t> values, BadValue& bad) {
    return rule.kind == ValueRule::Kind::range ? find_outside(rule, values, bad) : find_bad_span(rule, values, bad);
}

} // namespace temper
