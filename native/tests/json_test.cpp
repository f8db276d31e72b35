// The JSON reader takes RFC 8259 and nothing else.
#include "../engine/json.hpp"

#include "check.hpp"

using namespace temper;

TEST(reads_every_kind_of_value) {
    const Json json = parse_json(R"( {"a": [1, -0.5e2, true, false, null], "b": {"c": "d"}} )");
    const auto& object = *json.as<Json::Object>();
    const auto& array = *object.at("a").as<Json::Array>();
    CHECK_EQ(*array[0].as<double>(), 1.0);
    CHECK_EQ(*array[1].as<double>(), -50.0);
    CHECK(*array[2].as<bool>());
    CHECK(!*array[3].as<bool>());
    CHECK(array[4].is_null());
    CHECK_EQ(*object.at("b").as<Json::Object>()->at("c").as<std::string>(), "d");
}

TEST(reads_escapes_as_utf8) {
    CHECK_EQ(*parse_json(R"("\"\\\/\b\f\n\r\t")").as<std::string>(), "\"\\/\b\f\n\r\t");
    CHECK_EQ(*parse_json(R"("\u0041\u00e9\u20ac\ud83d\ude00")").as<std::string>(), "A\u00e9\u20ac\U0001F600");
}

TEST(keeps_doubles_exactly) {
    CHECK_EQ(*parse_json("0.1").as<double>(), 0.1);
    CHECK_EQ(*parse_json("9007199254740991").as<double>(), 9007199254740991.0);
    CHECK_EQ(*parse_json("1e-5").as<double>(), 1e-5);
}

TEST(refuses_what_is_not_json) {
    for (const char* text : {"", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "01", "1.", ".5", "+1", "NaN", "inf", "1e",
                             "tru", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\n\"", "[1] 2", "// c\n1", "1e999"})
        CHECK_THROWS(parse_json(text), "JSON: ");
}

TEST(names_the_place) { CHECK_THROWS(parse_json("[1, 2, x]"), "expected a value at byte 7"); }

TEST(refuses_a_key_that_stands_twice) { CHECK_THROWS(parse_json(R"({"a":1,"a":2})"), "'a' stands twice"); }

TEST(refuses_nesting_that_would_exhaust_the_stack) {
    CHECK_THROWS(parse_json(std::string(100000, '[')), "nested too deeply");
}
