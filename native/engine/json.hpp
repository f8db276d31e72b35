// A strict reader of JSON (RFC 8259), for plans: no comments, no trailing commas, no duplicate keys.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace temper {

struct Json {
    using Array = std::vector<Json>;
    using Object = std::map<std::string, Json, std::less<>>;
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value;

    template <class T> const T* as() const { return std::get_if<T>(&value); }
    bool is_null() const { return value.index() == 0; }
};

// Throws std::invalid_argument with the byte offset of what is wrong.
Json parse_json(std::string_view text);

} // namespace temper
