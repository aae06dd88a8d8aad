// Characters (code points) as UTF-8.
#pragma once

#include <cstdint>
#include <string>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// `c` must be a character, below 0x110000.
GRADUS_COLD inline void append_utf8(std::string& out, char32_t c) {
  auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xe0 | c >> 12);
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
    }
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

}  // namespace gradus::detail::inline GRADUS_BUILD
