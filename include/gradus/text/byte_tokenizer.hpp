#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::text::inline GRADUS_BUILD {

/// Every byte is a token: any text, any language, nothing to train, 256 tokens.
struct ByteTokenizer {
  int64_t vocabulary() const { return 256; }

  std::vector<int64_t> encode(std::string_view text) const {
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (auto c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  /// IndexError for an id that is no byte.
  std::string decode(std::span<const int64_t> ids) const {
    std::string text;
    for (auto id : ids) {
      require<IndexError>(id >= 0 && id < 256, "ByteTokenizer: ", id, " is no byte");
      text += static_cast<char>(id);
    }
    return text;
  }
};

}  // namespace gradus::text::inline GRADUS_BUILD
