#include "json.hpp"

#include <charconv>
#include <stdexcept>

namespace temper {

namespace {

constexpr int MAX_DEPTH = 64;

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Json document() {
        Json value = read(0);
        skip_space();
        if (at_ != text_.size()) fail("text after the value");
        return value;
    }

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw std::invalid_argument("JSON: " + what + " at byte " + std::to_string(at_));
    }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip_space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) at_++;
    }
    bool take(char c) {
        skip_space();
        if (peek() != c || at_ >= text_.size()) return false;
        at_++;
        return true;
    }
    void expect(char c) {
        if (!take(c)) fail(std::string("expected '") + c + "'");
    }
    bool take_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Json read(int depth) {
        if (depth > MAX_DEPTH) fail("nested too deeply");
        skip_space();
        switch (peek()) {
        case '{': return {object(depth)};
        case '[': return {array(depth)};
        case '"': return {string()};
        default: break;
        }
        if (take_word("true")) return {true};
        if (take_word("false")) return {false};
        if (take_word("null")) return {nullptr};
        return {number()};
    }

    Json::Object object(int depth) {
        Json::Object object;
        expect('{');
        if (take('}')) return object;
        do {
            skip_space();
            std::string key = string();
            expect(':');
            Json value = read(depth + 1);
            if (!object.emplace(key, std::move(value)).second) fail("the key '" + key + "' stands twice");
        } while (take(','));
        expect('}');
        return object;
    }

    Json::Array array(int depth) {
        Json::Array array;
        expect('[');
        if (take(']')) return array;
        do array.push_back(read(depth + 1));
        while (take(','));
        expect(']');
        return array;
    }

    // -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?: from_chars alone would also take "01", "1." and "inf".
    double number() {
        const size_t from = at_;
        auto digits = [&] {
            const size_t start = at_;
            while (peek() >= '0' && peek() <= '9') at_++;
            if (at_ == start) fail("expected a value");
        };
        if (peek() == '-') at_++;
        if (peek() == '0') at_++;
        else digits();
        if (peek() == '.') at_++, digits();
        if (peek() == 'e' || peek() == 'E') {
            at_++;
            if (peek() == '+' || peek() == '-') at_++;
            digits();
        }
        double value = 0;
        const auto [end, error] = std::from_chars(text_.data() + from, text_.data() + at_, value);
        if (error != std::errc() || end != text_.data() + at_) fail("a number out of range");
        return value;
    }

    std::string string() {
        if (peek() != '"') fail("expected a string");
        at_++;
        std::string out;
        for (;;) {
            if (at_ >= text_.size()) fail("a string without an end");
            const char c = text_[at_];
            if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
            at_++;
            if (c == '"') return out;
            if (c == '\\') escape(out);
            else out += c;
        }
    }

    void escape(std::string& out) {
        const char c = peek();
        at_++;
        static constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
        if (c == 'u') return append_utf8(out, code_point());
        const size_t i = names.find(c);
        if (i == std::string_view::npos || at_ > text_.size()) fail("an unknown escape");
        out += values[i];
    }

    uint32_t hex4() {
        uint32_t unit = 0;
        if (at_ + 4 > text_.size()) fail("a short \\u escape");
        const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, unit, 16);
        if (error != std::errc() || end != text_.data() + at_ + 4) fail("a malformed \\u escape");
        at_ += 4;
        return unit;
    }

    uint32_t code_point() {
        const uint32_t unit = hex4();
        if (unit < 0xd800 || unit > 0xdfff) return unit;
        if (unit > 0xdbff || !take_word("\\u")) fail("an unpaired surrogate");
        const uint32_t low = hex4();
        if (low < 0xdc00 || low > 0xdfff) fail("an unpaired surrogate");
        return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }

    static void append_utf8(std::string& out, uint32_t c) {
        if (c < 0x80) {
            out += static_cast<char>(c);
            return;
        }
        const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static constexpr uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
        out += static_cast<char>(lead[tail] | (c >> (6 * tail)));
        for (int i = tail - 1; i >= 0; i--) out += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3f));
    }

    std::string_view text_;
    size_t at_ = 0;
};

} // namespace

Json parse_json(std::string_view text) {
    return Reader(text).document();
}

} // namespace temper
