// A text cut into pieces, and what patterns cut out of one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gradus/io/json.hpp"
#include "gradus/text/regex.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Pieces of text one after the other, none of them empty.
struct Pieces {
  std::u32string text;
  std::vector<size_t> ends;
  bool at_start = true;  ///< the first piece begins where the whole text begins, not behind an added token

  void push_back(std::u32string_view piece) {
    if (piece.empty()) return;
    text += piece;
    ends.push_back(text.size());
  }
  size_t size() const { return ends.size(); }
  std::u32string_view operator[](size_t i) const {
    auto start = i == 0 ? 0 : ends[i - 1];
    return std::u32string_view(text).substr(start, ends[i] - start);
  }
};

/// A part of a text: a match of a pattern, or what lies between two.
struct Span {
  size_t start, end;
  bool match;
};

/// Something that is looked for in a text: calls back with the start and end of each match.
using Finder = std::function<void(std::u32string_view text, const std::function<void(size_t, size_t)>& visit)>;

/// Each run of one or each single character for which `belongs` holds.
template <class Belongs>
Finder find_characters(Belongs belongs) {
  return [=](std::u32string_view text, const std::function<void(size_t, size_t)>& visit) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (belongs(text[i])) visit(i, i + 1);
    }
  };
}

inline Finder find_regex(std::string_view pattern) {
  return [regex = std::make_shared<const Regex>(pattern)](std::u32string_view text, const auto& visit) {
    regex->find_all(text, visit);
  };
}

inline Finder find_string(std::u32string wanted) {
  require<FormatError>(!wanted.empty(), "a pattern must not be empty");
  return [=](std::u32string_view text, const auto& visit) {
    for (auto at = text.find(wanted); at != text.npos; at = text.find(wanted, at + wanted.size()))
      visit(at, at + wanted.size());
  };
}

/// {"String": "..."} or {"Regex": "..."}, as tokenizer.json has patterns; older files have the string alone.
inline Finder read_pattern(const io::Json& pattern) {
  if (!pattern.is_object()) return find_string(to_characters(pattern.as_string()));
  if (const auto* text = pattern.find("String")) return find_string(to_characters(text->as_string()));
  return find_regex(pattern.at("Regex").as_string());
}

/// The whole text as matches and what lies between, from left to right, none of them empty.
inline std::vector<Span> find_spans(std::u32string_view text, const Finder& find) {
  std::vector<Span> spans;
  size_t at = 0;
  find(text, [&](size_t start, size_t end) {
    if (start > at) spans.push_back({at, start, false});
    if (end > start) spans.push_back({start, end, true});
    at = end;
  });
  if (at < text.size()) spans.push_back({at, text.size(), false});
  return spans;
}

/// Keeps a hostile file from making texts without end of short ones.
inline void check_growth(size_t before, size_t after) {
  require<FormatError>(after <= 64 * before + 65536, "a text of ", before, " characters would become one of ", after,
                       " or more");
}

inline std::u32string replace_all(std::u32string_view text, const Finder& find, std::u32string_view by) {
  std::u32string out;
  for (auto span : find_spans(text, find)) {
    out += span.match ? by : text.substr(span.start, span.end - span.start);
    check_growth(text.size(), out.size());
  }
  return out;
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD
