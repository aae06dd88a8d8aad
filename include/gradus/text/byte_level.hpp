// Bytes as printable characters, as GPT-2's vocabulary has them: a space is U+0120, a line feed U+010A.
#pragma once

#include <array>
#include <string>

#include "gradus/text/unicode.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Bytes that are printable in Latin-1 stand for themselves, the others, in order, for U+0100 and those that follow.
class ByteLevel {
 public:
  static const ByteLevel& get() {
    static const ByteLevel table;
    return table;
  }
  char32_t character(unsigned char byte) const { return characters_[byte]; }
  /// -1 for a character that stands for no byte.
  int byte(char32_t c) const { return c < bytes_.size() ? bytes_[c] : -1; }

  /// Appends the characters for the bytes of the text's UTF-8.
  void append(std::u32string_view text, std::u32string& out) const {
    std::string utf8;
    for (auto c : text) {
      if (c < 0x80) {
        out += characters_[c];
        continue;
      }
      utf8.clear();
      gradus::detail::append_utf8(utf8, c);
      for (auto byte : utf8) out += characters_[static_cast<unsigned char>(byte)];
    }
  }
  /// Appends the bytes that the token's characters stand for; the token as it is when one stands for none.
  void append_bytes(std::string_view token, std::string& out) const {
    std::string bytes;
    for (size_t at = 0; at < token.size();) {
      auto value = byte(next_character(token, at));
      if (value < 0) {
        out += token;
        return;
      }
      bytes += static_cast<char>(value);
    }
    out += bytes;
  }

 private:
  ByteLevel() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      auto printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      characters_[byte] = printable ? byte : next++;
      bytes_[characters_[byte]] = static_cast<int16_t>(byte);
    }
  }

  std::array<char32_t, 256> characters_{};
  std::array<int16_t, 0x144> bytes_{};
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
