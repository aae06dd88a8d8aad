// Characters (code points) of Unicode 16: UTF-8 to and from, categories, lower case, normal forms.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradus/core/utf8.hpp"
#include "gradus/text/unicode_tables.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

inline std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (auto c : text) gradus::detail::append_utf8(out, c);
  return out;
}

/// The character at text[at], and `at` moved behind it. What is not UTF-8 becomes U+FFFD, one for each longest
/// beginning of a character (Unicode 16, section 3.9), as Python's bytes.decode(errors="replace") has it.
inline char32_t next_character(std::string_view text, size_t& at) {
  constexpr char32_t broken = 0xfffd;
  auto lead = static_cast<unsigned char>(text[at++]);
  if (lead < 0x80) return lead;
  if (lead < 0xc2 || lead > 0xf4) return broken;
  auto more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  char32_t c = lead & (0x3f >> more);
  unsigned low = lead == 0xe0   ? 0xa0
                 : lead == 0xf0 ? 0x90
                                : 0x80,
           high = lead == 0xed   ? 0x9f
                  : lead == 0xf4 ? 0x8f
                                 : 0xbf;
  for (; more > 0; --more, low = 0x80, high = 0xbf) {
    auto byte = at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    if (byte < low || byte > high) return broken;
    c = c << 6 | (byte & 0x3f);
    ++at;
  }
  return c;
}

inline std::u32string to_characters(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) out += next_character(text, at);
  return out;
}

/// General categories, in the order of unicode_tables.hpp.
enum class Category : uint8_t {
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,
  Sm,
  Sc,
  Sk,
  So,
  Zs,
  Zl,
  Zp,
  Cc,
  Cf,
  Cs,
  Co,
  Cn
};
inline constexpr std::string_view category_names = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn";

/// Those whose name begins with `name` ("L", "Lu") as bits; 0 when there are none.
inline uint32_t category_bits(std::string_view name) {
  uint32_t bits = 0;
  for (size_t i = 0; 2 * i < category_names.size(); ++i) {
    if (!name.empty() && category_names.substr(2 * i, 2).starts_with(name)) bits |= 1u << i;
  }
  return bits;
}

/// The numbers of a table of unicode_tables.hpp, one after the other.
class TableReader {
 public:
  explicit TableReader(std::string_view digits) : digits_(digits) {}
  bool at_end() const { return at_ == digits_.size(); }
  uint32_t number() {
    uint32_t value = 0;
    for (uint32_t shift = 0;; shift += 5) {
      auto c = digits_[at_++];
      auto digit = static_cast<uint32_t>(c >= 'a'   ? c - 'a' + 26
                                         : c >= 'A' ? c - 'A'
                                         : c >= '0' ? c - '0' + 52
                                         : c == '+' ? 62
                                                    : 63);
      value |= (digit & 31) << shift;
      if (digit < 32) return value;
    }
  }
  /// A signed one, to be added without overflow mattering.
  uint32_t difference() {
    auto value = number();
    return value & 1 ? ~(value >> 1) : value >> 1;
  }

 private:
  std::string_view digits_;
  size_t at_ = 0;
};

/// What unicode_tables.hpp says, spread out for looking up.
class UnicodeData {
 public:
  struct Decomposition {
    bool canonical = false;
    std::u32string to;
  };

  static const UnicodeData& get() {
    static const UnicodeData data;
    return data;
  }

  Category category(char32_t c) const {
    if (c < dense) return dense_categories_[c];
    auto run = std::upper_bound(starts_.begin(), starts_.end(), c) - starts_.begin() - 1;
    return run_categories_[static_cast<size_t>(run)];
  }
  /// Itself when it has none. Of U+0130, whose lower case is two characters, the first.
  char32_t lower(char32_t c) const {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    auto found = lower_.find(c);
    return found == lower_.end() ? c : found->second;
  }
  uint8_t combining_class(char32_t c) const {
    if (c < 0x300) return 0;
    auto found = combining_.find(c);
    return found == combining_.end() ? 0 : found->second;
  }
  const Decomposition* decomposition(char32_t c) const {
    if (c < 0xa0) return nullptr;
    auto found = decompositions_.find(c);
    return found == decompositions_.end() ? nullptr : &found->second;
  }
  /// A mark, punctuation or format character that came after Unicode 8, the version of BERT's tokenizers.
  bool is_newer(char32_t c) const {
    auto run = std::upper_bound(newer_.begin(), newer_.end(), c, [](char32_t a, const auto& b) { return a < b.first; });
    return run != newer_.begin() && c < (run - 1)->second;
  }
  /// The character that the two make, or 0.
  char32_t composition(char32_t a, char32_t b) const {
    auto found = compositions_.find(static_cast<uint64_t>(a) << 32 | b);
    return found == compositions_.end() ? 0 : found->second;
  }

 private:
  static constexpr char32_t dense = 0x3100;  // characters below are looked up directly

  UnicodeData() : dense_categories_(dense) {
    char32_t c = 0;
    for (TableReader table(category_table); !table.at_end();) {
      auto run = table.number();
      auto category = static_cast<Category>(run & 31);
      for (auto i = c; i < std::min<char32_t>(c + (run >> 5), dense); ++i) dense_categories_[i] = category;
      starts_.push_back(c);
      run_categories_.push_back(category);
      c += run >> 5;
    }
    c = 0;
    for (TableReader table(lower_table); !table.at_end();) {
      c += table.number();
      lower_[c] = c + table.difference();
    }
    lower_[0x130] = 'i';
    c = 0;
    for (TableReader table(combining_table); !table.at_end();) {
      c += table.number();
      auto end = c + table.number();
      for (auto kind = static_cast<uint8_t>(table.number()); c < end; ++c) combining_[c] = kind;
    }
    c = 0;
    for (TableReader table(newer_table); !table.at_end();) {
      c += table.number();
      newer_.push_back({c, c + table.number()});
      c = newer_.back().second;
    }
    c = 0;
    char32_t first = 0;
    for (TableReader table(decomposition_table); !table.at_end();) {
      c += table.number();
      auto kind = table.number();
      auto& entry = decompositions_[c];
      entry.canonical = kind & 2;
      entry.to.push_back(first += table.difference());
      while (entry.to.size() < kind >> 2) entry.to.push_back(entry.to.back() + table.difference());
      if (kind & 1) compositions_[static_cast<uint64_t>(entry.to[0]) << 32 | entry.to[1]] = c;
    }
  }

  std::vector<Category> dense_categories_, run_categories_;
  std::vector<char32_t> starts_;
  std::vector<std::pair<char32_t, char32_t>> newer_;  // first, behind the last
  std::unordered_map<char32_t, char32_t> lower_;
  std::unordered_map<char32_t, uint8_t> combining_;
  std::unordered_map<char32_t, Decomposition> decompositions_;
  std::unordered_map<uint64_t, char32_t> compositions_;
};

inline Category category(char32_t c) { return UnicodeData::get().category(c); }
inline bool is_in(char32_t c, uint32_t categories) { return categories >> static_cast<int>(category(c)) & 1; }

/// Unicode's property White_Space.
inline bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
         c == 0x202f || c == 0x205f || c == 0x3000;
}
/// A letter, mark, digit or connector, as \w of regular expressions has it (Unicode technical standard 18).
inline bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
  static const auto categories =
      category_bits("L") | category_bits("M") | category_bits("Nd") | category_bits("Nl") | category_bits("Pc");
  return is_in(c, categories) || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
         (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

/// Each character in lower case, whatever stands around it.
inline std::u32string to_lower(std::u32string_view text) {
  const auto& data = UnicodeData::get();
  std::u32string out;
  out.reserve(text.size());
  for (auto c : text) {
    out += data.lower(c);
    if (c == 0x130) out += char32_t{0x307};
  }
  return out;
}

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Korean syllables are put together by arithmetic (Unicode 16, section 3.12).
struct Hangul {
  static constexpr char32_t first = 0xac00, lead = 0x1100, vowel = 0x1161, tail = 0x11a7;
  static constexpr char32_t leads = 19, vowels = 21, tails = 28;

  static bool is_syllable(char32_t c) { return c - first < leads * vowels * tails; }
  static void decompose(char32_t c, std::u32string& out) {
    c -= first;
    out += lead + c / (vowels * tails);
    out += vowel + c / tails % vowels;
    if (c % tails != 0) out += tail + c % tails;
  }
  static char32_t compose(char32_t a, char32_t b) {
    if (a - lead < leads && b - vowel < vowels) return first + ((a - lead) * vowels + (b - vowel)) * tails;
    if (is_syllable(a) && (a - first) % tails == 0 && b - tail - 1 < tails - 1) return a + (b - tail);
    return 0;
  }
};

inline void append_decomposed(char32_t c, bool compatible, std::u32string& out) {
  if (Hangul::is_syllable(c)) return Hangul::decompose(c, out);
  auto* found = UnicodeData::get().decomposition(c);
  if (found == nullptr || !(found->canonical || compatible)) {
    out += c;
    return;
  }
  for (auto part : found->to) append_decomposed(part, compatible, out);
}

/// Marks that follow a character in the order of their classes.
inline void order_marks(std::u32string& text) {
  const auto& data = UnicodeData::get();
  for (size_t i = 0; i < text.size(); ++i) {
    if (data.combining_class(text[i]) == 0) continue;
    auto end = i + 1;
    while (end < text.size() && data.combining_class(text[end]) != 0) ++end;
    std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(i), text.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](char32_t a, char32_t b) { return data.combining_class(a) < data.combining_class(b); });
    i = end - 1;
  }
}

inline void compose(std::u32string& text) {
  const auto& data = UnicodeData::get();
  size_t starter = text.size(), kept = 0;
  int last = -1;  // class of the last character that was kept behind the starter; -1: none is there
  for (auto c : text) {
    auto kind = data.combining_class(c);
    if (starter < kept && (last < kind || last == -1)) {
      auto both = Hangul::compose(text[starter], c);
      if (both == 0) both = data.composition(text[starter], c);
      if (both != 0) {
        text[starter] = both;
        continue;
      }
    }
    if (kind == 0) {
      starter = kept;
      last = -1;
    } else {
      last = kind;
    }
    text[kept++] = c;
  }
  text.resize(kept);
}

/// The text in a normal form (Unicode standard annex 15).
inline std::u32string normalized(std::u32string_view text, NormalForm form) {
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; })) return std::u32string(text);
  auto compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  std::u32string out;
  out.reserve(text.size());
  for (auto c : text) append_decomposed(c, compatible, out);
  order_marks(out);
  if (form == NormalForm::nfc || form == NormalForm::nfkc) compose(out);
  return out;
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD
