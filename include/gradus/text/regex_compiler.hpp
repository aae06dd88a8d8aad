// The regular expressions that tokenizers' files hold, made into steps: alternatives, groups, classes with Unicode's
// properties, repeats (greedy, lazy, possessive), looking ahead.
#pragma once

#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gradus/core/error.hpp"
#include "gradus/text/unicode.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// A set of characters: [...], \p{L}, \s, a letter.
class CharacterSet {
 public:
  void add(char32_t first, char32_t last) { ranges_.push_back({first, last}); }
  void add_categories(uint32_t bits, bool negated) { (negated ? categories_ |= ~bits : categories_ |= bits); }
  void add_class(char letter) { classes_ += letter; }  ///< s, w, d, and S, W, D for what is none
  void negate() { negated_ = !negated_; }

  /// To be called once, when nothing is added any more.
  void close(bool ignore_case) {
    ignore_case_ = ignore_case;
    for (char32_t c = 0; c < 128; ++c) ascii_[c] = search(c);
  }
  bool contains(char32_t c) const { return c < 128 ? ascii_[c] : search(c); }

 private:
  bool search(char32_t c) const {
    auto found = search_exactly(c);
    if (!found && ignore_case_) {
      auto low = UnicodeData::get().lower(c == 0x17f ? U's' : c);
      found = search_exactly(low) || (low >= 'a' && low <= 'z' && search_exactly(low - 32));
    }
    return found != negated_;
  }
  bool search_exactly(char32_t c) const {
    for (auto [first, last] : ranges_) {
      if (c >= first && c <= last) return true;
    }
    if (categories_ != 0 && is_in(c, categories_)) return true;
    for (auto letter : classes_) {
      auto small = static_cast<char>(letter | 32);
      auto in = small == 's' ? is_space(c) : small == 'w' ? is_word(c) : category(c) == Category::Nd;
      if (in == (small == letter)) return true;
    }
    return false;
  }

  std::vector<std::pair<char32_t, char32_t>> ranges_;
  uint32_t categories_ = 0;
  std::string classes_;
  bool negated_ = false, ignore_case_ = false;
  std::array<bool, 128> ascii_{};
};

struct RegexStep {
  enum Kind : uint8_t { one, run, split, jump, look_ahead, look_not_ahead, atomic, text_start, text_end, done };
  Kind kind;
  bool possessive = false;
  uint32_t set = 0;  ///< of one and run
  uint32_t first = 0,
           last = 0;  ///< run: how often; split: first tried, then tried; jump: where to; looks, atomic: behind
};

/// Reads a pattern into steps.
class RegexCompiler {
 public:
  RegexCompiler(std::string_view pattern, std::vector<RegexStep>& steps, std::vector<CharacterSet>& sets)
      : pattern_(pattern), text_(to_characters(pattern)), steps_(steps), sets_(sets) {}

  void compile() {
    alternatives(0);
    require_here(at_ == text_.size(), "a ')' without its '('");
    emit({RegexStep::done});
  }

 private:
  static constexpr uint32_t unlimited = std::numeric_limits<uint32_t>::max();

  void alternatives(int depth) {
    require_here(depth < 50, "groups more than 50 deep");
    std::vector<size_t> ends;
    for (;;) {
      auto start = steps_.size();
      while (at_ < text_.size() && peek() != '|' && peek() != ')') repeated(depth);
      if (at_ == text_.size() || peek() == ')') break;
      ++at_;
      insert(start, {RegexStep::split});
      ends.push_back(steps_.size());
      emit({RegexStep::jump});
      steps_[start].first = static_cast<uint32_t>(start + 1);
      steps_[start].last = static_cast<uint32_t>(steps_.size());
    }
    for (auto end : ends) steps_[end].first = static_cast<uint32_t>(steps_.size());
  }

  /// One atom with what says how often.
  void repeated(int depth) {
    auto start = steps_.size();
    atom(depth);
    for (auto again = true; again && at_ < text_.size();) {
      uint32_t low = 1, high = 1;
      again = read_count(low, high);
      if (!again) break;
      auto lazy = take('?'), possessive = !lazy && take('+');
      repeat(start, low, high, lazy, possessive);
    }
  }

  bool read_count(uint32_t& low, uint32_t& high) {
    if (take('?')) return low = 0, true;
    if (take('*')) return low = 0, high = unlimited, true;
    if (take('+')) return high = unlimited, true;
    if (peek() != '{') return false;
    ++at_;
    low = number();
    high = low;
    if (take(',')) high = at_ < text_.size() && peek() == '}' ? unlimited : number();
    require_here(take('}') && low <= high, "a count that is none");
    return true;
  }
  uint32_t number() {
    uint32_t value = 0;
    auto start = at_;
    for (; at_ < text_.size() && peek() >= '0' && peek() <= '9' && value < 10000; ++at_)
      value = value * 10 + (peek() - '0');
    require_here(at_ > start && value <= 1000, "a count that is no number up to 1000");
    return value;
  }

  void repeat(size_t start, uint32_t low, uint32_t high, bool lazy, bool possessive) {
    if (steps_.size() == start + 1 && steps_[start].kind == RegexStep::one && !lazy) {
      steps_[start] = {RegexStep::run, possessive, steps_[start].set, low, high};
      return;
    }
    std::vector<RegexStep> body(steps_.begin() + static_cast<std::ptrdiff_t>(start), steps_.end());
    steps_.resize(start);
    if (possessive) emit({RegexStep::atomic});
    for (uint32_t i = 0; i < low; ++i) emit_body(body, start);
    std::vector<size_t> skips;
    if (high == unlimited) {
      skips.push_back(steps_.size());
      emit({RegexStep::split});
      emit_body(body, start);
      emit({RegexStep::jump, false, 0, static_cast<uint32_t>(skips[0])});
    } else {
      for (auto i = low; i < high; ++i) {
        skips.push_back(steps_.size());
        emit({RegexStep::split});
        emit_body(body, start);
      }
    }
    for (auto skip : skips) {
      auto inside = static_cast<uint32_t>(skip + 1), behind = static_cast<uint32_t>(steps_.size());
      steps_[skip].first = lazy ? behind : inside;
      steps_[skip].last = lazy ? inside : behind;
    }
    if (possessive) close(start);
  }

  void atom(int depth) {
    auto c = text_[at_];
    if (c == '(') return group(depth);
    ++at_;
    if (c == '^') return emit({RegexStep::text_start});
    if (c == '$') return emit({RegexStep::text_end});
    CharacterSet set;
    if (c == '[') {
      set = bracket(0);
    } else if (c == '.') {
      set.add('\n', '\n');
      set.negate();
    } else if (c == '\\') {
      escape(set);
    } else {
      require_here(c != '*' && c != '+' && c != '?' && c != '{', "a count without what is counted");
      set.add(c, c);
    }
    emit_set(std::move(set));
  }

  void group(int depth) {
    ++at_;
    auto start = steps_.size(), kind = static_cast<size_t>(RegexStep::done);
    auto case_before = ignore_case_;
    if (take('?')) {
      auto c = at_ < text_.size() ? text_[at_++] : U'\0';
      if (c == '=') kind = RegexStep::look_ahead;
      if (c == '!') kind = RegexStep::look_not_ahead;
      if (c == '>') kind = RegexStep::atomic;
      if (c == 'i') {
        ignore_case_ = true;
        if (take(')')) return;  // for all that follows
        c = at_ < text_.size() ? text_[at_++] : U'\0';
      }
      require_here(c == ':' || kind != RegexStep::done, "a group of a kind that is not known");
    }
    if (kind != RegexStep::done) emit({static_cast<RegexStep::Kind>(kind)});
    alternatives(depth + 1);
    require_here(take(')'), "a '(' without its ')'");
    if (kind != RegexStep::done) close(start);
    ignore_case_ = case_before;
  }

  CharacterSet bracket(int depth) {
    CharacterSet set;
    if (take('^')) set.negate();
    for (auto first = true;; first = false) {
      require_here(at_ < text_.size() && depth == 0, "a '[' without its ']'");
      auto c = text_[at_++];
      if (c == ']' && !first) return set;
      require_here(c != '[' && !(c == '&' && at_ < text_.size() && peek() == '&'), "a class within a class");
      char32_t low = c;
      if (c == '\\' && escape(set, &low)) continue;
      auto range = at_ + 1 < text_.size() && peek() == '-' && text_[at_ + 1] != ']';
      auto high = low;
      if (range) {
        ++at_;
        high = text_[at_++];
        if (high == '\\') require_here(!escape(set, &high), "a range that ends in a class");
        require_here(low <= high, "a range whose end is before its start");
      }
      set.add(low, high);
    }
  }

  /// Behind a backslash. True when a class was added to the set, false when it stands for the character `alone`;
  /// without `alone`, that is added too.
  bool escape(CharacterSet& set, char32_t* alone = nullptr) {
    require_here(at_ < text_.size(), "a '\\' at the end");
    auto c = text_[at_++];
    if (c == 'p' || c == 'P') {
      property(set, c == 'P');
      return true;
    }
    if (std::u32string_view(U"swdSWD").find(c) != std::u32string_view::npos) {
      set.add_class(static_cast<char>(c));
      return true;
    }
    constexpr std::u32string_view letters = U"rntfv0", meanings{U"\r\n\t\f\v\0", 6};
    auto which = letters.find(c);
    if (which != letters.npos) {
      c = meanings[which];
    } else if (c == 'u' || c == 'x') {
      c = hexadecimal(c == 'u' ? 4 : 2);
    } else {
      auto plain = c >= 128 || !is_word(c) || c == '_';
      require_here(plain, "a '\\' before a letter that means nothing here");
    }
    if (alone != nullptr) {
      *alone = c;
    } else {
      set.add(c, c);
    }
    return false;
  }

  char32_t hexadecimal(int digits) {
    auto braces = take('{');
    char32_t value = 0;
    for (auto i = 0; braces ? at_ < text_.size() && peek() != '}' : i < digits; ++i) {
      auto c = at_ < text_.size() ? text_[at_++] | 32 : U'\0';
      auto digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
      require_here(digit < 16 && value < 0x11000, "a character's number that is none");
      value = value * 16 + digit;
    }
    require_here(!braces || take('}'), "a '{' without its '}'");
    return value;
  }

  void property(CharacterSet& set, bool negated) {
    std::string name;
    if (take('{')) {
      if (take('^')) negated = !negated;
      while (at_ < text_.size() && peek() != '}') gradus::detail::append_utf8(name, text_[at_++]);
      require_here(take('}'), "a '{' without its '}'");
    } else if (at_ < text_.size()) {
      gradus::detail::append_utf8(name, text_[at_++]);
    }
    if (name == "Han") {  // the blocks that hold its characters
      require_here(!negated, "\\P{Han}");
      for (auto [first, last] : {std::pair<char32_t, char32_t>{0x2e80, 0x2fd5},
                                 {0x3005, 0x3007},
                                 {0x3021, 0x3029},
                                 {0x3038, 0x303b},
                                 {0x3400, 0x4dbf},
                                 {0x4e00, 0x9fff},
                                 {0xf900, 0xfad9},
                                 {0x20000, 0x323af}})
        set.add(first, last);
      return;
    }
    auto bits = name.size() <= 2 ? category_bits(name) : 0;
    require_here(bits != 0, join("\\p{", name, "}, which is not known: categories of Unicode and Han are"));
    set.add_categories(bits, negated);
  }

  void emit(RegexStep step) {
    require_here(steps_.size() < 20000, "more than 20000 steps");
    steps_.push_back(step);
  }
  void emit_set(CharacterSet set) {
    set.close(ignore_case_);
    sets_.push_back(std::move(set));
    emit({RegexStep::one, false, static_cast<uint32_t>(sets_.size() - 1)});
  }
  /// A copy of steps that stood at `home`, with what they say of places.
  void emit_body(const std::vector<RegexStep>& body, size_t home) {
    auto shift = static_cast<uint32_t>(steps_.size() - home);
    for (auto step : body) {
      move_places(step, shift);
      emit(step);
    }
  }
  void insert(size_t at, RegexStep step) {
    emit(step);
    for (auto i = steps_.size() - 1; i > at; --i) {
      steps_[i] = steps_[i - 1];
      move_places(steps_[i], 1);
    }
    steps_[at] = step;
  }
  static void move_places(RegexStep& step, uint32_t shift) {
    if (step.kind == RegexStep::one || step.kind == RegexStep::run) return;
    step.first += shift;
    step.last += shift;
  }
  /// The steps behind `start` are one match of its own, ended by done.
  void close(size_t start) {
    emit({RegexStep::done});
    steps_[start].first = static_cast<uint32_t>(steps_.size());
  }

  char32_t peek() const { return text_[at_]; }
  bool take(char32_t wanted) {
    auto found = at_ < text_.size() && text_[at_] == wanted;
    at_ += found;
    return found;
  }
  template <class Text>
  void require_here(bool condition, const Text& what) const {
    require<FormatError>(condition, "regular expression '", pattern_, "': ", what, " (at character ", at_, ")");
  }

  std::string pattern_;
  std::u32string text_;
  std::vector<RegexStep>& steps_;
  std::vector<CharacterSet>& sets_;
  size_t at_ = 0;
  bool ignore_case_ = false;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
