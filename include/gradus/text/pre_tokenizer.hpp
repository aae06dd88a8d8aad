// Cuts a text into the pieces that a vocabulary's model sees one by one: the pre-tokenizers of tokenizer.json.
#pragma once

#include <string>

#include "gradus/text/byte_level.hpp"
#include "gradus/text/pieces.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

using PreTokenizer = std::function<void(Pieces&)>;

inline constexpr std::string_view gpt2_pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/// A member of a tokenizer's settings, or what it is when it is not there or null.
inline bool flag(const io::Json& settings, std::string_view key, bool otherwise) {
  const auto* value = settings.find(key);
  return value == nullptr || value->is_null() ? otherwise : value->as_bool();
}
inline int64_t count(const io::Json& settings, std::string_view key, int64_t otherwise) {
  const auto* value = settings.find(key);
  return value == nullptr || value->is_null() ? otherwise : value->as_int();
}
inline std::string string(const io::Json& settings, std::string_view key, std::string_view otherwise) {
  const auto* value = settings.find(key);
  return value == nullptr || value->is_null() ? std::string(otherwise) : value->as_string();
}

[[noreturn]] inline void fail_unknown(std::string_view what, const std::string& type, std::string_view known) {
  gradus::detail::fail<FormatError>({join(what, " '", type, "' is not known; known are ", known)});
}

/// What becomes of the matches of a pattern that cuts.
enum class SplitBehavior { removed, isolated, contiguous, merged_with_previous, merged_with_next };

inline SplitBehavior read_behavior(const std::string& name) {
  constexpr std::string_view names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
  for (int i = 0; i < 5; ++i) {
    if (name == names[i]) return static_cast<SplitBehavior>(i);
  }
  fail_unknown("behaviour of a split", name, "Removed, Isolated, Contiguous, MergedWithPrevious, MergedWithNext");
}

/// The spans that remain pieces.
inline std::vector<Span> apply(std::vector<Span> spans, SplitBehavior behavior) {
  std::vector<Span> kept;
  if (behavior == SplitBehavior::merged_with_next) {
    for (auto i = spans.size(); i-- > 0;) {
      auto merged = spans[i].match && i + 1 < spans.size() && !spans[i + 1].match;
      if (merged) {
        kept.back().start = spans[i].start;
      } else {
        kept.push_back(spans[i]);
      }
    }
    return {kept.rbegin(), kept.rend()};
  }
  for (size_t i = 0; i < spans.size(); ++i) {
    if (behavior == SplitBehavior::removed && spans[i].match) continue;
    auto merged = i > 0 && ((behavior == SplitBehavior::contiguous && spans[i].match == spans[i - 1].match) ||
                            (behavior == SplitBehavior::merged_with_previous && spans[i].match && !spans[i - 1].match));
    if (merged) {
      kept.back().end = spans[i].end;
    } else {
      kept.push_back(spans[i]);
    }
  }
  return kept;
}

inline PreTokenizer split(Finder find, SplitBehavior behavior, bool invert = false) {
  return [=](Pieces& pieces) {
    Pieces out{.text = {}, .ends = {}, .at_start = pieces.at_start};
    for (size_t i = 0; i < pieces.size(); ++i) {
      auto piece = pieces[i];
      auto spans = find_spans(piece, find);
      if (invert) {
        for (auto& span : spans) span.match = !span.match;
      }
      for (auto span : apply(std::move(spans), behavior))
        out.push_back(piece.substr(span.start, span.end - span.start));
    }
    pieces = std::move(out);
  };
}

/// Each piece changed by change(piece, index).
template <class Change>
PreTokenizer each_piece(Change change) {
  return [=](Pieces& pieces) {
    Pieces out{.text = {}, .ends = {}, .at_start = pieces.at_start};
    for (size_t i = 0; i < pieces.size(); ++i) out.push_back(change(pieces[i], i == 0 && pieces.at_start));
    pieces = std::move(out);
  };
}

inline PreTokenizer sequence(std::vector<PreTokenizer> steps) {
  return [=](Pieces& pieces) {
    auto before = pieces.text.size();
    for (const auto& step : steps) {
      step(pieces);
      check_growth(before, pieces.text.size());
    }
  };
}

inline bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > 0x20 && c < 0x7f && !is_word(c) ? true : c == '_';
  static const auto categories = category_bits("P");
  return is_in(c, categories) && !UnicodeData::get().is_newer(c);
}

/// Runs of letters, marks, digits and joiners, and runs of what is none of these and no space.
inline void find_words(std::u32string_view text, const std::function<void(size_t, size_t)>& visit) {
  auto kind = [](char32_t c) { return is_word(c) || c == 0x200c || c == 0x200d ? 1 : is_space(c) ? 0 : 2; };
  for (size_t start = 0, end; start < text.size(); start = end) {
    auto now = kind(text[start]);
    for (end = start + 1; end < text.size() && kind(text[end]) == now;) ++end;
    if (now != 0) visit(start, end);
  }
}

inline PreTokenizer byte_level(bool prefix_space, bool use_regex) {
  std::vector<PreTokenizer> steps;
  if (prefix_space) {
    steps.push_back(each_piece([](std::u32string_view piece, bool) {
      return piece.starts_with(U' ') ? std::u32string(piece) : U' ' + std::u32string(piece);
    }));
  }
  if (use_regex) steps.push_back(split(find_regex(gpt2_pattern), SplitBehavior::isolated));
  steps.push_back(each_piece([](std::u32string_view piece, bool) {
    std::u32string out;
    ByteLevel::get().append(piece, out);
    return out;
  }));
  return sequence(std::move(steps));
}

/// SentencePiece's way: spaces become a character that can be seen, and pieces begin with it.
inline PreTokenizer metaspace(const io::Json& settings) {
  auto mark = to_characters(string(settings, "replacement", "\u2581"));
  require<FormatError>(mark.size() == 1, "pre-tokenizer Metaspace: a replacement of ", mark.size(), " characters");
  auto scheme = string(settings, "prepend_scheme", flag(settings, "add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fail_unknown("prepend_scheme", scheme, "always, first, never");
  std::vector<PreTokenizer> steps{each_piece([=](std::u32string_view piece, bool first) {
    std::u32string out(piece);
    std::replace(out.begin(), out.end(), U' ', mark[0]);
    if (scheme == "always" || (scheme == "first" && first)) {
      if (!out.starts_with(mark)) out = mark + out;
    }
    return out;
  })};
  if (flag(settings, "split", true)) {
    steps.push_back(
        split(find_characters([c = mark[0]](char32_t other) { return other == c; }), SplitBehavior::merged_with_next));
  }
  return sequence(std::move(steps));
}

/// From the member "pre_tokenizer" of a tokenizer.json. FormatError names one that is not known.
inline PreTokenizer read_pre_tokenizer(const io::Json& settings, int depth = 0) {
  require<FormatError>(depth < 20, "pre-tokenizers more than 20 deep");
  if (settings.is_null()) return [](Pieces&) {};
  const auto& type = settings.at("type").as_string();
  auto numeric = [bits = category_bits("N")](char32_t c) { return is_in(c, bits); };
  if (type == "Sequence") {
    std::vector<PreTokenizer> steps;
    for (const auto& step : settings.at("pretokenizers").as_array())
      steps.push_back(read_pre_tokenizer(step, depth + 1));
    return sequence(std::move(steps));
  }
  if (type == "ByteLevel")
    return byte_level(flag(settings, "add_prefix_space", true), flag(settings, "use_regex", true));
  if (type == "Split") {
    return split(read_pattern(settings.at("pattern")), read_behavior(settings.at("behavior").as_string()),
                 flag(settings, "invert", false));
  }
  if (type == "BertPreTokenizer") {
    return sequence({split(find_characters(is_space), SplitBehavior::removed),
                     split(find_characters(is_punctuation), SplitBehavior::isolated)});
  }
  if (type == "Whitespace") return split(find_words, SplitBehavior::removed, true);
  if (type == "WhitespaceSplit") return split(find_characters(is_space), SplitBehavior::removed);
  if (type == "Punctuation")
    return split(find_characters(is_punctuation), read_behavior(string(settings, "behavior", "Isolated")));
  if (type == "Digits") {
    auto single = flag(settings, "individual_digits", false);
    return split(find_characters(numeric), single ? SplitBehavior::isolated : SplitBehavior::contiguous);
  }
  if (type == "CharDelimiterSplit")
    return split(find_string(to_characters(settings.at("delimiter").as_string())), SplitBehavior::removed);
  if (type == "Metaspace") return metaspace(settings);
  if (type == "FixedLength") {
    auto length = count(settings, "length", 5);
    require<FormatError>(length >= 1, "pre-tokenizer FixedLength: pieces of ", length, " characters");
    return split(find_regex(join("(?:.|\\n){1,", std::min<int64_t>(length, 1000), "}")), SplitBehavior::isolated);
  }
  fail_unknown(
      "pre-tokenizer", type,
      "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, Punctuation, Sequence, "
      "Split, Whitespace, WhitespaceSplit");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD
