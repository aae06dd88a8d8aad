// A JSON value and its text form. The reader is in json_reader.hpp.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// Null, bool, whole number, floating number, string, array or object. Objects keep the order of their keys.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;
  enum class Kind { null, boolean, integer, number, string, array, object };  // in the order of the variant

  Json() = default;
  Json(std::nullptr_t) {}
  template <std::same_as<bool> B>  // a template, so that pointers do not become true
  Json(B value) : value_(value) {}
  template <std::integral N>
  requires(!std::same_as<N, bool>) Json(N value) : value_(static_cast<int64_t>(value)) {
    require<ValueError>(std::in_range<int64_t>(value), "json: ", value, " does not fit a signed 64-bit number");
  }
  template <std::floating_point N>
  Json(N value) : value_(static_cast<double>(value)) {}
  Json(const char* text) : value_(std::string(text)) {}
  Json(std::string_view text) : value_(std::string(text)) {}
  Json(std::string text) : value_(std::move(text)) {}
  Json(Array elements) : value_(std::move(elements)) {}
  Json(Object members) : value_(std::move(members)) {}

  static Json array(std::initializer_list<Json> elements = {}) { return Array(elements); }
  static Json object(std::initializer_list<Member> members = {}) { return Object(members); }

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  bool is_object() const { return kind() == Kind::object; }

  // The value as that kind; FormatError when it is another one.
  bool as_bool() const { return get<bool>("true or false"); }
  int64_t as_int() const { return get<int64_t>("a whole number"); }
  /// A floating or whole number.
  double as_number() const { return kind() == Kind::integer ? static_cast<double>(as_int()) : get<double>("a number"); }
  const std::string& as_string() const { return get<std::string>("a string"); }
  const Array& as_array() const { return get<Array>("an array"); }
  const Object& as_object() const { return get<Object>("an object"); }

  /// The member of an object, or null when it has none of that name.
  const Json* find(std::string_view key) const {
    for (const auto& [name, member] : as_object()) {
      if (name == key) return &member;
    }
    return nullptr;
  }
  /// The member of an object. FormatError when it has none of that name.
  const Json& at(std::string_view key) const {
    const auto* member = find(key);
    require<FormatError>(member != nullptr, "json: the object has no member '", key, "'");
    return *member;
  }

  /// Sets a member, adding it at the end when it is new. A null value becomes an object first.
  Json& set(std::string_view key, Json value) {
    if (is_null()) value_ = Object();
    get<Object>("an object");
    auto& members = std::get<Object>(value_);
    for (auto& [name, member] : members) {
      if (name == key) {
        member = std::move(value);
        return *this;
      }
    }
    members.push_back({std::string(key), std::move(value)});
    return *this;
  }
  /// Adds an element. A null value becomes an array first.
  Json& push_back(Json value) {
    if (is_null()) value_ = Array();
    get<Array>("an array");
    std::get<Array>(value_).push_back(std::move(value));
    return *this;
  }

  friend bool operator==(const Json& a, const Json& b) { return a.value_ == b.value_; }
  /// "an array": for error texts.
  friend std::string_view to_string(Kind kind) {
    constexpr std::string_view names[] = {"null",     "a bool",   "a whole number", "a number",
                                          "a string", "an array", "an object"};
    return names[static_cast<int>(kind)];
  }

 private:
  template <class T>
  const T& get(std::string_view wanted) const {
    const auto* value = std::get_if<T>(&value_);
    require<FormatError>(value != nullptr, "json: the value is ", kind(), ", but must be ", wanted);
    return *value;
  }

  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object> value_;
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

/// Length of the UTF-8 sequence at text[at], 0 when it is not a valid one (RFC 3629: nothing overlong, no surrogates).
inline size_t utf8_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) { return byte(i) >= low && byte(i) <= high; };
  auto lead = byte(at);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(at + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    return follows(at + 1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && follows(at + 2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    auto second = follows(at + 1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf);
    return second && follows(at + 2) && follows(at + 3) ? 4 : 0;
  }
  return 0;
}

inline void write_string(std::string& out, std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    auto c = text[i];
    auto code = static_cast<unsigned char>(c);
    auto length = utf8_length(text, i);
    require<ValueError>(length > 0, "json: a string to be written is not UTF-8 at byte ", i);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (code < 0x20) {
      out += "\\u00";
      out += hex[code >> 4];
      out += hex[code & 15];
    } else {
      out += text.substr(i, length);
    }
    i += length;
  }
  out += '"';
}

inline void write_number(std::string& out, double value) {
  require<ValueError>(std::isfinite(value), "json: ", value, " cannot be written: JSON has no infinities and no NaN");
  char buffer[32];
  auto text = std::string_view(buffer, static_cast<size_t>(std::to_chars(buffer, buffer + 32, value).ptr - buffer));
  out += text;
  if (text.find_first_of(".e") == text.npos) out += ".0";  // reads back as a floating number
}

/// indent < 0: on one line.
inline void write_json(std::string& out, const Json& json, int indent, int depth) {
  auto line = [&](int levels) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent * levels), ' ');
  };
  auto write_list = [&](const auto& list, char open, char close, auto&& write_one) {
    out += open;
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      write_one(list[i]);
    }
    if (!list.empty()) line(depth);
    out += close;
  };
  switch (json.kind()) {
    case Json::Kind::null:
      out += "null";
      break;
    case Json::Kind::boolean:
      out += json.as_bool() ? "true" : "false";
      break;
    case Json::Kind::integer:
      out += std::to_string(json.as_int());
      break;
    case Json::Kind::number:
      write_number(out, json.as_number());
      break;
    case Json::Kind::string:
      write_string(out, json.as_string());
      break;
    case Json::Kind::array:
      write_list(json.as_array(), '[', ']', [&](const Json& element) { write_json(out, element, indent, depth + 1); });
      break;
    case Json::Kind::object:
      write_list(json.as_object(), '{', '}', [&](const Json::Member& member) {
        write_string(out, member.first);
        out += indent < 0 ? ":" : ": ";
        write_json(out, member.second, indent, depth + 1);
      });
      break;
  }
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// JSON text on one line. Numbers read back as what they were. ValueError for NaN, infinities and broken UTF-8.
inline std::string to_string(const Json& json) {
  std::string out;
  detail::write_json(out, json, -1, 0);
  return out;
}
/// JSON text for people: one member or element a line, indented.
inline std::string to_pretty_string(const Json& json, int indent = 2) {
  std::string out;
  detail::write_json(out, json, indent, 0);
  return out;
}

}  // namespace gradus::io::inline GRADUS_BUILD
