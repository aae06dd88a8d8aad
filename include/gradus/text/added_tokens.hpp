// Tokens that are found in the text as they stand, before anything else is done to it: [MASK], <|endoftext|>.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "gradus/text/normalizer.hpp"
#include "gradus/text/vocabulary.hpp"

namespace gradus::text::inline GRADUS_BUILD {

struct AddedToken {
  std::string content;
  bool special = true;       ///< decode leaves it out
  bool single_word = false;  ///< only where no letter stands before or behind
  bool lstrip = false;       ///< takes the space before it along
  bool rstrip = false;       ///< and the one behind it
  bool normalized = false;   ///< looked for in the normalised text
};

}  // namespace gradus::text::inline GRADUS_BUILD

namespace gradus::text::detail::inline GRADUS_BUILD {

/// A part of a text: an added token, or text that is still to be cut.
struct Section {
  std::u32string text;
  int64_t id = -1;  ///< of an added token
};

class AddedTokens {
 public:
  void add(AddedToken token, int64_t id, const Normalizer& normalize) {
    require<FormatError>(id >= 0 && id < Vocabulary::largest && !token.content.empty(), "added token '", token.content,
                         "' has the id ", id);
    auto pattern = to_characters(token.content);
    if (token.normalized) normalize(pattern);
    ids_.insert_or_assign(token.content, id);
    if (!pattern.empty() && token.normalized) token.content = to_utf8(pattern);  // what decode writes
    tokens_[id] = token;
    if (pattern.empty()) return;
    auto& list = (token.normalized ? normalized_ : raw_)[pattern[0]];
    std::erase_if(list, [&](const Entry& entry) { return entry.pattern == pattern; });
    list.push_back({std::move(pattern), id});
    std::stable_sort(list.begin(), list.end(),
                     [](const Entry& a, const Entry& b) { return a.pattern.size() > b.pattern.size(); });
  }

  int64_t find(std::string_view content) const {
    auto found = ids_.find(content);
    return found == ids_.end() ? -1 : found->second;
  }
  const AddedToken* token(int64_t id) const {
    auto found = tokens_.find(id);
    return found == tokens_.end() ? nullptr : &found->second;
  }
  /// By id.
  const std::map<int64_t, AddedToken>& all() const { return tokens_; }

  /// The text cut at added tokens, what lies between normalised.
  std::vector<Section> split(std::u32string_view text, const Normalizer& normalize) const {
    std::vector<Section> sections, result;
    cut(text, raw_, sections);
    for (auto& section : sections) {
      if (section.id >= 0) {
        result.push_back(std::move(section));
        continue;
      }
      normalize(section.text);
      cut(section.text, normalized_, result);
    }
    return result;
  }

 private:
  struct Entry {
    std::u32string pattern;
    int64_t id;
  };
  using Patterns = std::unordered_map<char32_t, std::vector<Entry>>;  // by first character, the longest first

  void cut(std::u32string_view text, const Patterns& patterns, std::vector<Section>& out) const {
    size_t begin = 0;  // of what is not put out yet
    auto put = [&](size_t end) {
      if (end > begin) out.push_back({std::u32string(text.substr(begin, end - begin)), -1});
    };
    for (size_t at = 0; !patterns.empty() && at < text.size();) {
      const auto* found = match(text, at, patterns);
      if (found == nullptr) {
        ++at;
        continue;
      }
      const auto& token = tokens_.at(found->id);
      auto start = at, end = at + found->pattern.size();
      at = end;
      if (token.single_word && ((start > 0 && is_word(text[start - 1])) || (end < text.size() && is_word(text[end]))))
        continue;
      while (token.lstrip && start > begin && is_space(text[start - 1])) --start;
      while (token.rstrip && end < text.size() && is_space(text[end])) ++end;
      put(start);
      out.push_back({{}, found->id});
      begin = at = end;
    }
    put(text.size());
  }
  static const Entry* match(std::u32string_view text, size_t at, const Patterns& patterns) {
    auto list = patterns.find(text[at]);
    if (list == patterns.end()) return nullptr;
    for (const auto& entry : list->second) {
      if (text.substr(at).starts_with(entry.pattern)) return &entry;
    }
    return nullptr;
  }

  std::map<int64_t, AddedToken> tokens_;
  TextMap<int64_t> ids_;
  Patterns raw_, normalized_;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
