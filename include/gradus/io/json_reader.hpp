// Reads JSON (RFC 8259), strictly: files come from outside, so depth, size and number of values are limited.
#pragma once

#include "gradus/core/sort.hpp"
#include "gradus/core/utf8.hpp"
#include "gradus/io/json.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// What a text may hold at most; FormatError beyond.
struct JsonLimits {
  int depth = 64;               ///< arrays and objects within each other
  int64_t bytes = 100'000'000;  ///< of text
  int64_t values = 4'000'000;   ///< bounds the memory: a value takes up to 300 bytes, with what its list has in reserve
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

class JsonReader {
 public:
  JsonReader(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  Json read() {
    require<FormatError>(static_cast<int64_t>(text_.size()) <= limits_.bytes, "json: ", text_.size(),
                         " bytes of text, but at most ", limits_.bytes, " are allowed");
    skip_space();
    auto value = read_value(0);
    skip_space();
    if (at_ < text_.size()) fail_here(join("found ", seen(), " after the end of the value"));
    return value;
  }

 private:
  GRADUS_COLD Json read_value(int depth) {
    if (++values_ > limits_.values) fail_here(join("more than ", limits_.values, " values"));
    switch (peek()) {
      case '{':
        return read_object(depth + 1);
      case '[':
        return read_array(depth + 1);
      case '"':
        return read_string();
      case 't':
        return read_word("true", true);
      case 'f':
        return read_word("false", false);
      case 'n':
        return read_word("null", nullptr);
      default:
        return read_number();
    }
  }

  GRADUS_COLD Json read_object(int depth) {
    enter(depth);
    auto members = Json::object();
    std::vector<size_t> starts;
    if (skip_space(); !take('}')) {
      do {
        skip_space();
        if (peek() != '"') fail_here(join("expected a key in quotes, found ", seen()));
        starts.push_back(at_);
        auto key = read_string();
        skip_space();
        expect(':', "':' after the key");
        skip_space();
        members.append(key, read_value(depth));
        skip_space();
      } while (take(','));
      expect('}', "',' or '}'");
    }
    require_distinct(members.keys(), starts);
    return members;
  }

  /// The first key that stood before is the one complained about.
  GRADUS_COLD void require_distinct(const std::vector<std::string>& keys, const std::vector<size_t>& starts) const {
    auto key = [&](int64_t i) -> const std::string& { return keys[static_cast<size_t>(i)]; };
    auto order = gradus::detail::sorted_order(keys.size(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
    auto twice = std::ssize(keys);
    for (size_t i = 1; i < order.size(); ++i) {
      if (key(order[i]) == key(order[i - 1])) twice = std::min(twice, order[i]);
    }
    if (twice < std::ssize(keys))
      fail_at(starts[static_cast<size_t>(twice)], join("key '", key(twice), "' appears twice"));
  }

  GRADUS_COLD Json read_array(int depth) {
    enter(depth);
    auto elements = Json::array();
    if (skip_space(); !take(']')) {
      do {
        skip_space();
        elements.push_back(read_value(depth));
        skip_space();
      } while (take(','));
      expect(']', "',' or ']'");
    }
    return elements;
  }

  GRADUS_COLD std::string read_string() {
    auto start = at_++;
    std::string result;
    while (peek() != '"') {
      if (at_ == text_.size()) fail_at(start, "this string never ends");
      if (static_cast<unsigned char>(peek()) < 0x20) fail_here("a control character in a string must be escaped");
      if (peek() == '\\') {
        read_escape(result);
        continue;
      }
      auto length = utf8_length(text_, at_);
      if (length == 0) fail_here("not UTF-8");
      result += text_.substr(at_, length);
      at_ += length;
    }
    ++at_;
    return result;
  }

  GRADUS_COLD void read_escape(std::string& result) {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    auto start = at_++;
    auto letter = peek();
    if (auto which = letters.find(letter); which != letters.npos && at_ < text_.size()) {
      result += meanings[which];
      ++at_;
      return;
    }
    if (letter != 'u') fail_at(start, "unknown escape in a string");
    ++at_;
    auto code = read_hex(start);
    if (code >= 0xd800 && code <= 0xdfff) {  // two escapes make one character above U+FFFF
      auto paired = code < 0xdc00 && text_.substr(at_, 2) == "\\u";
      if (paired) at_ += 2;
      auto low = paired ? read_hex(start) : 0;
      if (low < 0xdc00 || low > 0xdfff) fail_at(start, "half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    gradus::detail::append_utf8(result, code);
  }

  uint32_t read_hex(size_t start) {
    uint32_t code = 0;
    auto digits = text_.substr(at_, 4);
    auto end = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16).ptr;
    if (digits.size() < 4 || end != digits.data() + 4)
      fail_at(start, "\\u must be followed by four hexadecimal digits");
    at_ += 4;
    return code;
  }

  GRADUS_COLD Json read_number() {
    auto start = at_;
    auto whole = true;
    take('-');
    if (!take('0')) read_digits(start);
    if (take('.')) whole = (read_digits(start), false);
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      whole = (read_digits(start), false);
    }
    const auto *first = text_.data() + start, *last = text_.data() + at_;
    int64_t integer = 0;
    if (whole && std::from_chars(first, last, integer).ec == std::errc()) return integer;
    double number = 0;
    if (std::from_chars(first, last, number).ec != std::errc()) fail_at(start, "this number does not fit a double");
    return number;
  }

  void read_digits(size_t start) {
    if (peek() < '0' || peek() > '9')
      fail_here(at_ == start ? join("expected a value, found ", seen()) : join("expected a digit, found ", seen()));
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  Json read_word(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail_here(join("expected a value, found ", seen()));
    at_ += word.size();
    return value;
  }

  void enter(int depth) {
    if (depth > limits_.depth) fail_here(join("arrays and objects are nested more than ", limits_.depth, " deep"));
    ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char wanted) {
    auto found = at_ < text_.size() && text_[at_] == wanted;
    at_ += found;
    return found;
  }
  void expect(char wanted, std::string_view what) {
    if (!take(wanted)) fail_here(join("expected ", what, ", found ", seen()));
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  /// What stands here, for error texts.
  std::string seen() const {
    if (at_ == text_.size()) return "the end of the text";
    auto code = static_cast<unsigned char>(text_[at_]);
    return code >= 0x20 && code < 0x7f ? join('\'', text_[at_], '\'') : join("byte ", static_cast<int>(code));
  }
  [[noreturn]] void fail_here(const std::string& text) const { fail_at(at_, text); }
  [[noreturn]] GRADUS_COLD void fail_at(size_t at, const std::string& text) const {
    int64_t line = 1, column = 1;
    for (auto c : text_.substr(0, at)) {
      line += c == '\n';
      column = c == '\n' ? 1 : column + 1;
    }
    gradus::detail::fail<FormatError>({"json: line ", line, ", column ", column, ": ", text});
  }

  std::string_view text_;
  const JsonLimits& limits_;
  size_t at_ = 0;
  int64_t values_ = 0;
};

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// The value that `text` holds. Whole numbers that fit become int64, all others double. FormatError with line and
/// column (in bytes) for anything that is not JSON, for a key that appears twice, and beyond the limits.
inline Json parse_json(std::string_view text, const JsonLimits& limits = {}) {
  return detail::JsonReader(text, limits).read();
}

}  // namespace gradus::io::inline GRADUS_BUILD
