#include "op.hpp"

#include <cmath>

namespace temper {

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

void check_attributes(const Op& op, const Attrs& attrs) {
    size_t known = 0;
    for (const Attribute* attribute = op.attributes; attribute->key; attribute++, known++) {
        const auto given = attrs.values.find(attribute->key);
        if (given == attrs.values.end())
            throw std::invalid_argument(std::string("the attribute '") + attribute->key + "' is missing");
        if (!has_type(given->second, attribute->type))
            throw std::invalid_argument(std::string("the attribute '") + attribute->key + "' is not of type " +
                                        name_of(attribute->type));
    }
    if (known == attrs.values.size()) return;
    std::string keys;
    for (const Attribute* attribute = op.attributes; attribute->key; attribute++)
        keys += (keys.empty() ? "" : ", ") + std::string(attribute->key);
    for (const auto& [key, value] : attrs.values) {
        bool listed = false;
        for (const Attribute* attribute = op.attributes; attribute->key; attribute++) listed = listed || key == attribute->key;
        if (!listed)
            throw std::invalid_argument("unknown attribute '" + key + "'; this engine knows " + (keys.empty() ? "none" : keys));
    }
}

bool works_in_place(const Op& op, const Attrs& attrs, size_t output, size_t input, size_t inputs) {
    for (const InPlace* pair = op.in_place; pair->output >= 0; pair++) {
        const size_t on = pair->input < 0 ? inputs - static_cast<size_t>(-pair->input) : static_cast<size_t>(pair->input);
        if (static_cast<size_t>(pair->output) == output && on == input && (!pair->when || attrs.flag(pair->when))) return true;
    }
    return false;
}

} // namespace temper
