// Every character of a text is a token.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "gradus/core/error.hpp"
#include "gradus/text/unicode.hpp"

namespace gradus::text::inline GRADUS_BUILD {

/// Characters (code points) in the order of their numbers, from 1 on; 0 is any other character.
class CharacterTokenizer {
 public:
  /// The characters that stand in `text`.
  explicit CharacterTokenizer(std::string_view text) : characters_(1, U'\uFFFD') {
    auto all = detail::to_characters(text);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::erase(all, U'\uFFFD');
    characters_ += all;
    for (size_t i = 1; i < characters_.size(); ++i) ids_[characters_[i]] = static_cast<int64_t>(i);
  }

  int64_t vocabulary() const { return std::ssize(characters_); }

  std::vector<int64_t> encode(std::string_view text) const {
    std::vector<int64_t> ids;
    for (size_t at = 0; at < text.size();) {
      auto found = ids_.find(detail::next_character(text, at));
      ids.push_back(found == ids_.end() ? 0 : found->second);
    }
    return ids;
  }
  /// U+FFFD for 0. IndexError for an id that is none.
  std::string decode(std::span<const int64_t> ids) const {
    std::string text;
    for (auto id : ids) {
      require<IndexError>(id >= 0 && id < vocabulary(), "CharacterTokenizer: id ", id, " of ", vocabulary());
      gradus::detail::append_utf8(text, characters_[static_cast<size_t>(id)]);
    }
    return text;
  }

 private:
  std::u32string characters_;
  std::unordered_map<char32_t, int64_t> ids_;
};

}  // namespace gradus::text::inline GRADUS_BUILD
