// SentencePiece's map of characters, as tokenizer.json carries it: a double-array trie and the texts it leads to.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "gradus/text/pieces.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// FormatError for what is no base 64 (RFC 4648).
inline std::string decode_base64(std::string_view text) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (auto c : text) {
    auto digit = letters.find(c);
    require<FormatError>(digit != letters.npos, "not base 64: '", c, "'");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (count += 6; count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return out;
}

class PrecompiledMap {
 public:
  /// From base 64 of: bytes of the trie (uint32), its units (uint32 each), texts that end in a zero byte.
  explicit PrecompiledMap(std::string_view base64) {
    auto bytes = decode_base64(base64);
    if (bytes.empty()) return;  // changes nothing
    uint32_t size = 0;
    require<FormatError>(bytes.size() >= 4, "Precompiled: a map of ", bytes.size(), " bytes");
    std::memcpy(&size, bytes.data(), 4);
    require<FormatError>(size % 4 == 0 && size <= bytes.size() - 4 && size > 0, "Precompiled: a trie of ", size,
                         " bytes in a map of ", bytes.size());
    units_.resize(size / 4);
    std::memcpy(units_.data(), bytes.data() + 4, size);
    texts_ = bytes.substr(4 + size);
    require<FormatError>(!texts_.empty() && texts_.back() == '\0', "Precompiled: the texts have no end");
  }

  std::u32string apply(std::u32string_view text) const {
    std::u32string out;
    for (size_t at = 0; at < text.size();) {
      auto end = cluster_end(text, at);
      auto cluster = text.substr(at, end - at);
      if (auto whole = to_utf8(cluster); whole.size() >= 6 || !look_up(whole, out)) {
        for (auto c : cluster) {
          if (!look_up(to_utf8({&c, 1}), out)) out += c;
        }
      }
      at = end;
      check_growth(text.size(), out.size());
    }
    return out;
  }

 private:
  /// Appends the text for the shortest beginning of `key` that has one.
  bool look_up(std::string_view key, std::u32string& out) const {
    if (units_.empty()) return false;
    auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
    uint32_t place = offset(units_[0]);
    for (auto letter : key) {
      auto byte = static_cast<unsigned char>(letter);
      place ^= byte;
      if (byte == 0 || place >= units_.size()) return false;
      auto unit = units_[place];
      if ((unit & 0x800000ff) != byte) return false;
      place ^= offset(unit);
      if (unit & 0x100) {
        if (place >= units_.size()) return false;
        auto start = units_[place] & 0x7fffffff;
        require<FormatError>(start < texts_.size(), "Precompiled: text ", start, " of ", texts_.size(), " bytes");
        out += to_characters(texts_.c_str() + start);
        return true;
      }
    }
    return false;
  }

  /// A character with the marks, joiners and Korean letters that belong to it.
  static size_t cluster_end(std::u32string_view text, size_t at) {
    static const auto marks = category_bits("M"),
                      controls = category_bits("Cc") | category_bits("Cf") | category_bits("Zl") | category_bits("Zp");
    auto end = at + 1;
    auto joiner = text[at] == 0x200c || text[at] == 0x200d;
    if (text[at] == '\r' && end < text.size() && text[end] == '\n') return end + 1;
    if (is_in(text[at], controls) && !joiner) return end;
    auto korean = [](char32_t c) { return (c >= 0x1100 && c <= 0x11ff) || Hangul::is_syllable(c); };
    while (end < text.size() && (is_in(text[end], marks) || text[end] == 0x200d || text[end] == 0x200c ||
                                 (korean(text[end - 1]) && text[end] >= 0x1100 && text[end] <= 0x11ff)))
      ++end;
    return end;
  }

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
