// Finds what a regular expression matches: by backtracking without recursion, and with a limit on its steps.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "gradus/text/regex_compiler.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// A compiled pattern.
class Regex {
 public:
  static constexpr size_t none = static_cast<size_t>(-1);

  /// FormatError names what it does not know.
  explicit Regex(std::string_view pattern) : pattern_(pattern) { RegexCompiler(pattern, steps_, sets_).compile(); }

  /// Calls visit(start, end) for each match, from left to right, none overlapping.
  template <class Visit>
  void find_all(std::u32string_view text, Visit visit) const {
    std::vector<Choice> choices;
    uint64_t budget = 10000 + 1000 * static_cast<uint64_t>(text.size());
    for (size_t at = 0; at <= text.size();) {
      auto end = match(text, at, 0, choices, budget);
      if (end != none && end > at) {
        visit(at, end);
        at = end;
      } else {
        ++at;
      }
    }
  }

 private:
  /// What may be tried when the way taken fails.
  struct Choice {
    uint32_t step;
    size_t at, least;  ///< a run may give back characters until `least`
  };

  size_t match(std::u32string_view text, size_t at, uint32_t step, std::vector<Choice>& choices,
               uint64_t& budget) const {
    auto bottom = choices.size();
    for (;;) {
      require<FormatError>(budget-- > 0 && choices.size() < 10000 + 4 * text.size(), "regular expression '", pattern_,
                           "': takes too many steps on this text");
      const auto& now = steps_[step];
      auto fits = true;
      switch (now.kind) {
        case RegexStep::one:
          fits = at < text.size() && sets_[now.set].contains(text[at]);
          at += fits;
          ++step;
          break;
        case RegexStep::run: {
          const auto& set = sets_[now.set];
          auto start = at, most = now.last < text.size() - at ? at + now.last : text.size();
          while (at < most && set.contains(text[at])) ++at;
          fits = at - start >= now.first;
          ++step;
          if (fits && !now.possessive && at - start > now.first) choices.push_back({step, at, start + now.first});
          break;
        }
        case RegexStep::split:
          choices.push_back({now.last, at, at});
          step = now.first;
          break;
        case RegexStep::jump:
          step = now.first;
          break;
        case RegexStep::look_ahead:
        case RegexStep::look_not_ahead:
        case RegexStep::atomic: {
          auto end = match(text, at, step + 1, choices, budget);
          fits = (end != none) == (now.kind != RegexStep::look_not_ahead);
          if (now.kind == RegexStep::atomic && fits) at = end;
          step = now.first;
          break;
        }
        case RegexStep::text_start:
          fits = at == 0;
          ++step;
          break;
        case RegexStep::text_end:
          fits = at == text.size();
          ++step;
          break;
        case RegexStep::done:
          choices.resize(bottom);
          return at;
      }
      if (fits) continue;
      if (choices.size() == bottom) return none;
      auto& choice = choices.back();
      step = choice.step;
      if (choice.at > choice.least) {
        at = --choice.at;
        if (choice.at == choice.least) choices.pop_back();
      } else {
        at = choice.at;
        choices.pop_back();
      }
    }
  }

  std::string pattern_;
  std::vector<RegexStep> steps_;
  std::vector<CharacterSet> sets_;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
