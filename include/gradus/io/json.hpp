// A JSON value and its text form. The reader is in json_reader.hpp.
#pragma once

#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// Null, bool, whole number, floating number, string, array or object. Objects keep the order of their keys.
class Json {
 public:
  enum class Kind : uint8_t { null, boolean, integer, number, string, array, object };

  Json() = default;
  Json(std::nullptr_t) {}
  template <std::same_as<bool> B>  // a template, so that pointers do not become true
  Json(B value) : kind_(Kind::boolean), bits_(value) {}
  template <std::integral N>
  requires(!std::same_as<N, bool>) Json(N value) : kind_(Kind::integer), bits_(static_cast<int64_t>(value)) {
    require<ValueError>(std::in_range<int64_t>(value), "json: ", value, " does not fit a signed 64-bit number");
  }
  template <std::floating_point N>
  Json(N value) : kind_(Kind::number), bits_(std::bit_cast<int64_t>(static_cast<double>(value))) {}
  Json(std::string text) : kind_(Kind::string), text_(std::move(text)) {}
  Json(std::string_view text) : Json(std::string(text)) {}
  Json(const char* text) : Json(std::string(text)) {}

  static Json array(std::initializer_list<Json> elements = {}) {
    Json result;
    result.kind_ = Kind::array;
    result.elements_ = elements;
    return result;
  }
  static Json object(std::initializer_list<std::pair<std::string_view, Json>> members = {}) {
    Json result;
    result.kind_ = Kind::object;
    for (const auto& [key, value] : members) result.append(key, value);
    return result;
  }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_object() const { return kind_ == Kind::object; }

  // The value as that kind; FormatError when it is another one.
  bool as_bool() const { return require_kind(Kind::boolean, "true or false").bits_ != 0; }
  int64_t as_int() const { return require_kind(Kind::integer, "a whole number").bits_; }
  /// A floating or whole number.
  double as_number() const {
    if (kind_ == Kind::integer) return static_cast<double>(bits_);
    return std::bit_cast<double>(require_kind(Kind::number, "a number").bits_);
  }
  const std::string& as_string() const { return require_kind(Kind::string, "a string").text_; }
  const std::vector<Json>& as_array() const { return require_kind(Kind::array, "an array").elements_; }
  /// Keys of an object, and below their values, in the same order.
  const std::vector<std::string>& keys() const { return require_kind(Kind::object, "an object").keys_; }
  const std::vector<Json>& values() const { return require_kind(Kind::object, "an object").elements_; }

  /// The member of an object, or null when it has none of that name.
  const Json* find(std::string_view key) const {
    const auto& names = keys();
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == key) return &elements_[i];
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
    if (is_null()) kind_ = Kind::object;
    if (const auto* member = find(key)) {
      elements_[static_cast<size_t>(member - elements_.data())] = std::move(value);
      return *this;
    }
    return append(key, std::move(value));
  }
  /// Adds a member of an object, whose key must be new. A null value becomes an object first.
  Json& append(std::string_view key, Json value) {
    if (is_null()) kind_ = Kind::object;
    require_kind(Kind::object, "an object");
    keys_.emplace_back(key);
    elements_.push_back(std::move(value));
    return *this;
  }
  /// Adds an element. A null value becomes an array first.
  Json& push_back(Json value) {
    if (is_null()) kind_ = Kind::array;
    require_kind(Kind::array, "an array");
    elements_.push_back(std::move(value));
    return *this;
  }

  friend bool operator==(const Json& a, const Json& b) {
    if (a.kind_ != b.kind_) return false;
    if (a.kind_ == Kind::number) return a.as_number() == b.as_number();
    return a.bits_ == b.bits_ && a.text_ == b.text_ && a.keys_ == b.keys_ && a.elements_ == b.elements_;
  }
  /// "an array": for error texts.
  friend std::string_view to_string(Kind kind) {
    constexpr std::string_view names[] = {"null",     "a bool",   "a whole number", "a number",
                                          "a string", "an array", "an object"};
    return names[static_cast<int>(kind)];
  }

 private:
  const Json& require_kind(Kind kind, std::string_view wanted) const {
    require<FormatError>(kind_ == kind, "json: the value is ", kind_, ", but must be ", wanted);
    return *this;
  }

  // Plain members, not a std::variant, which has a hundred functions compiled in every program.
  Kind kind_ = Kind::null;
  int64_t bits_ = 0;               // of a bool, a whole number, a floating number
  std::string text_;               // of a string
  std::vector<Json> elements_;     // of an array; the values of an object
  std::vector<std::string> keys_;  // of an object
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

/// Length of the UTF-8 sequence at text[at], 0 when it is not a valid one (RFC 3629: nothing overlong, no surrogates).
GRADUS_COLD inline size_t utf8_length(std::string_view text, size_t at) {
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

GRADUS_COLD inline void write_string(std::string& out, std::string_view text) {
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

GRADUS_COLD inline void write_number(std::string& out, double value) {
  require<ValueError>(std::isfinite(value), "json: ", value, " cannot be written: JSON has no infinities and no NaN");
  char buffer[32];
  auto text = std::string_view(buffer, static_cast<size_t>(std::to_chars(buffer, buffer + 32, value).ptr - buffer));
  out += text;
  if (text.find_first_of(".e") == text.npos) out += ".0";  // reads back as a floating number
}

/// indent < 0: on one line.
GRADUS_COLD inline void write_json(std::string& out, const Json& json, int indent, int depth) {
  auto line = [&](int levels) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent * levels), ' ');
  };
  auto write_list = [&](const std::vector<Json>& list, const std::vector<std::string>* keys) {
    out += keys != nullptr ? '{' : '[';
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      if (keys != nullptr) {
        write_string(out, (*keys)[i]);
        out += indent < 0 ? ":" : ": ";
      }
      write_json(out, list[i], indent, depth + 1);
    }
    if (!list.empty()) line(depth);
    out += keys != nullptr ? '}' : ']';
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
      write_list(json.as_array(), nullptr);
      break;
    case Json::Kind::object:
      write_list(json.values(), &json.keys());
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
