// Text and bytes within HTML.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "gradus/io/json.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

/// Text from outside, for any place in HTML or SVG where text or a quoted attribute stands. What is not UTF-8 and what
/// HTML forbids (control characters) becomes U+FFFD.
inline std::string escape_html(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    auto length = io::detail::utf8_length(text, i);
    auto c = text[i];
    auto control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == '\x7f';
    if (length == 0 || control) out += "\xef\xbf\xbd";
    else if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += text.substr(i, length);
    i += std::max<size_t>(length, 1);
  }
  return out;
}

/// RFC 4648, with padding.
inline std::string to_base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[word >> (18 - 6 * k) & 63u];
  }
  return out;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD
