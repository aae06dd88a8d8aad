#include <limits>

#include "gradus/io/json_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using gradus::FormatError;
using gradus::ValueError;
using gradus::io::Json;
using gradus::io::parse_json;
using gradus::test::check_error;

namespace {

void check_parse_error(const std::string& text, const std::string& error, const gradus::io::JsonLimits& limits = {}) {
  INFO(text.substr(0, 80));
  check_error<FormatError>([&] { parse_json(text, limits); }, error);
}

}  // namespace

TEST_CASE("json: every kind of value is read and written back") {
  std::string text = R"({"a":[1,-2.5,true,false,null],"b":{"":"x"},"c":[],"d":{},"e":1e+300})";
  auto json = parse_json(text);
  CHECK(to_string(json) == text);
  CHECK(json.at("a").as_array()[0].as_int() == 1);
  CHECK(json.at("a").as_array()[0].as_number() == 1.0);
  CHECK(json.at("a").as_array()[1].as_number() == -2.5);
  CHECK(json.at("a").as_array()[2].as_bool());
  CHECK(json.at("a").as_array()[4].is_null());
  CHECK(json.at("b").at("").as_string() == "x");
  CHECK(json.find("z") == nullptr);
  CHECK(parse_json(" \t\r\n[ ] ") == Json::array());
}

TEST_CASE("json: numbers keep their kind and their value") {
  CHECK(parse_json("9223372036854775807").as_int() == std::numeric_limits<int64_t>::max());
  CHECK(parse_json("-9223372036854775808").as_int() == std::numeric_limits<int64_t>::min());
  CHECK(parse_json("9223372036854775808").kind() == Json::Kind::number);
  CHECK(parse_json("1.0").kind() == Json::Kind::number);
  CHECK(parse_json("-0.0").as_number() == 0.0);
  CHECK(parse_json("1E2").as_number() == 100.0);
  for (auto value : {0.1, 1.0, 1e100, -5e-324, 123456789.125}) {
    auto back = parse_json(to_string(Json(value)));
    CHECK(back.kind() == Json::Kind::number);
    CHECK(back.as_number() == value);
  }
  check_parse_error("1e999", "json: line 1, column 1: this number does not fit a double");
  check_parse_error("01", "json: line 1, column 2: found '1' after the end of the value");
  check_parse_error("-", "json: line 1, column 2: expected a digit, found the end of the text");
  check_parse_error("1.", "json: line 1, column 3: expected a digit, found the end of the text");
  check_parse_error("1.e3", "json: line 1, column 3: expected a digit, found 'e'");
  check_parse_error("1e+", "json: line 1, column 4: expected a digit, found the end of the text");
  check_parse_error("+1", "json: line 1, column 1: expected a value, found '+'");
  check_parse_error("NaN", "json: line 1, column 1: expected a value, found 'N'");
}

TEST_CASE("json: strings are UTF-8, and escapes are decoded") {
  CHECK(parse_json(R"("\"\\\/\b\f\n\r\t")").as_string() == "\"\\/\b\f\n\r\t");
  CHECK(parse_json(R"("\u0041\u00e9\u20ac\ud83d\ude00")").as_string() == "A\u00e9\u20ac\U0001F600");
  CHECK(parse_json("\"A\u00e9\u20ac\U0001F600\"").as_string() == "A\u00e9\u20ac\U0001F600");
  CHECK(parse_json(R"("\u0000")").as_string() == std::string(1, '\0'));
  CHECK(to_string(Json("a\x01\n\t\"\\\u00e9")) == "\"a\\u0001\\n\\t\\\"\\\\\u00e9\"");

  check_parse_error("\"ab", "json: line 1, column 1: this string never ends");
  check_parse_error("\"ab\\", "json: line 1, column 4: unknown escape in a string");
  check_parse_error("\"\n\"", "json: line 1, column 2: a control character in a string must be escaped");
  check_parse_error(R"("\x")", "json: line 1, column 2: unknown escape in a string");
  check_parse_error(R"("\u12g4")", "json: line 1, column 2: \\u must be followed by four hexadecimal digits");
  check_parse_error(R"("\u-123")", "json: line 1, column 2: \\u must be followed by four hexadecimal digits");
  for (auto lone : {R"("\ud83d")", R"("\ude00")", R"("\ud83dx")", R"("\ud83d\u0041")"}) {
    check_parse_error(lone, "json: line 1, column 2: half of a surrogate pair");
  }
  // Truncated, overlong, a surrogate, above U+10FFFF, a lone continuation byte.
  for (auto bytes :
       {"\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xff"}) {
    check_parse_error(std::string("\"a") + bytes + "\"", "json: line 1, column 3: not UTF-8");
  }
}

TEST_CASE("json: an error says where and what") {
  check_parse_error("", "json: line 1, column 1: expected a value, found the end of the text");
  check_parse_error("{\n  \"a\": 1,\n  \"a\": 2}", "json: line 3, column 3: key 'a' appears twice");
  check_parse_error("[1,]", "json: line 1, column 4: expected a value, found ']'");
  check_parse_error("[1 2]", "json: line 1, column 4: expected ',' or ']', found '2'");
  check_parse_error("{\"a\" 1}", "json: line 1, column 6: expected ':' after the key, found '1'");
  check_parse_error("{\"a\":1,}", "json: line 1, column 8: expected a key in quotes, found '}'");
  check_parse_error("{a:1}", "json: line 1, column 2: expected a key in quotes, found 'a'");
  check_parse_error("{\"a\":1", "json: line 1, column 7: expected ',' or '}', found the end of the text");
  check_parse_error("tru", "json: line 1, column 1: expected a value, found 't'");
  check_parse_error("1 x", "json: line 1, column 3: found 'x' after the end of the value");
  check_parse_error(std::string("1\0", 2), "json: line 1, column 2: found byte 0 after the end of the value");
  check_parse_error("\xef\xbb\xbf{}", "json: line 1, column 1: expected a value, found byte 239");
}

TEST_CASE("json: depth, size and number of values are limited") {
  auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_json(nested(64)).as_array().size() == 1);
  check_parse_error(nested(65), "json: line 1, column 65: arrays and objects are nested more than 64 deep");
  check_parse_error(std::string(1'000'000, '['),
                    "json: line 1, column 65: arrays and objects are nested more than 64 deep");
  check_parse_error("[1, 2]", "json: 6 bytes of text, but at most 5 are allowed", {.bytes = 5});
  check_parse_error("[1, 2]", "json: line 1, column 5: more than 2 values", {.values = 2});
}

TEST_CASE("json: a value asked for as another kind is an error") {
  auto json = parse_json(R"({"a": "x", "b": 1.5, "c": 2})");
  check_error<FormatError>([&] { json.at("a").as_int(); }, "json: the value is a string, but must be a whole number");
  check_error<FormatError>([&] { json.at("b").as_int(); }, "json: the value is a number, but must be a whole number");
  check_error<FormatError>([&] { json.at("c").as_array(); }, "json: the value is a whole number, but must be an array");
  check_error<FormatError>([&] { json.at("c").find("x"); }, "json: the value is a whole number, but must be an object");
  check_error<FormatError>([&] { json.at("d"); }, "json: the object has no member 'd'");
}

TEST_CASE("json: what JSON cannot hold is not written") {
  check_error<ValueError>([] { to_string(Json(std::numeric_limits<double>::infinity())); },
                          "json: inf cannot be written: JSON has no infinities and no NaN");
  check_error<ValueError>([] { to_string(Json("a\xff")); }, "json: a string to be written is not UTF-8 at byte 1");
  check_error<ValueError>([] { Json(~uint64_t{0}); }, "json: 18446744073709551615 does not fit a signed 64-bit number");
}

TEST_CASE("json: built step by step and printed for people") {
  Json json;
  json.set("name", "lenet").set("epochs", 3).set("loss", 0.5).set("epochs", 4);
  json.set("sizes", Json().push_back(1).push_back(2)).set("empty", Json::object());
  CHECK(to_pretty_string(json) ==
        "{\n  \"name\": \"lenet\",\n  \"epochs\": 4,\n  \"loss\": 0.5,\n  \"sizes\": [\n    1,\n    2\n  ],\n"
        "  \"empty\": {}\n}");
  CHECK(parse_json(to_pretty_string(json)) == json);
}
