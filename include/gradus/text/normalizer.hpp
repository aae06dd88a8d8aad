// Brings a text into the form that a vocabulary was made for: the normalizers of tokenizer.json.
#pragma once

#include <string>
#include <vector>

#include "gradus/text/pre_tokenizer.hpp"
#include "gradus/text/precompiled.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

using Normalizer = std::function<void(std::u32string&)>;

/// Each character kept, left out or replaced: change(c, out) appends what it becomes.
template <class Change>
Normalizer each_character(Change change) {
  return [=](std::u32string& text) {
    std::u32string out;
    out.reserve(text.size());
    for (auto c : text) change(c, out);
    text = std::move(out);
  };
}

inline Normalizer sequence(std::vector<Normalizer> steps) {
  return [=](std::u32string& text) {
    auto before = text.size();
    for (const auto& step : steps) {
      step(text);
      check_growth(before, text.size());
    }
  };
}

inline bool is_chinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

inline Normalizer normal_form(NormalForm form) {
  return [=](std::u32string& text) { text = normalized(text, form); };
}

/// BERT's: controls are left out, space is ' ', Chinese characters are words, and, when it says so, no accents, lower
/// case.
inline Normalizer bert_normalizer(const io::Json& settings) {
  std::vector<Normalizer> steps;
  if (flag(settings, "clean_text", true)) {
    auto is_control = [bits = category_bits("C") & ~category_bits("Cn")](char32_t c) {
      return is_in(c, bits) && !UnicodeData::get().is_newer(c);
    };
    steps.push_back(each_character([=](char32_t c, std::u32string& out) {
      if (is_space(c)) {
        out += is_control(c) && c != '\t' && c != '\n' && c != '\r' ? std::u32string() : U" ";
      } else if (c != 0 && c != 0xfffd && !is_control(c)) {
        out += c;
      }
    }));
  }
  if (flag(settings, "handle_chinese_chars", true)) {
    steps.push_back(each_character([](char32_t c, std::u32string& out) {
      if (!is_chinese(c)) {
        out += c;
        return;
      }
      out += U' ';
      out += c;
      out += U' ';
    }));
  }
  auto lowercase = flag(settings, "lowercase", true);
  if (flag(settings, "strip_accents", lowercase)) {
    steps.push_back(normal_form(NormalForm::nfd));
    steps.push_back(each_character([bits = category_bits("Mn")](char32_t c, std::u32string& out) {
      if (!is_in(c, bits) || UnicodeData::get().is_newer(c)) out += c;
    }));
  }
  if (lowercase) steps.push_back([](std::u32string& text) { text = to_lower(text); });
  return sequence(std::move(steps));
}

/// From the member "normalizer" of a tokenizer.json. FormatError names one that is not known.
inline Normalizer read_normalizer(const io::Json& settings, int depth = 0) {
  require<FormatError>(depth < 20, "normalizers more than 20 deep");
  if (settings.is_null()) return [](std::u32string&) {};
  const auto& type = settings.at("type").as_string();
  if (type == "Sequence") {
    std::vector<Normalizer> steps;
    for (const auto& step : settings.at("normalizers").as_array()) steps.push_back(read_normalizer(step, depth + 1));
    return sequence(std::move(steps));
  }
  if (type == "BertNormalizer") return bert_normalizer(settings);
  if (type == "NFC") return normal_form(NormalForm::nfc);
  if (type == "NFD") return normal_form(NormalForm::nfd);
  if (type == "NFKC") return normal_form(NormalForm::nfkc);
  if (type == "NFKD") return normal_form(NormalForm::nfkd);
  if (type == "Lowercase") return [](std::u32string& text) { text = to_lower(text); };
  if (type == "StripAccents") {
    return each_character([bits = category_bits("M")](char32_t c, std::u32string& out) {
      if (!is_in(c, bits)) out += c;
    });
  }
  if (type == "Strip") {
    auto left = flag(settings, "strip_left", true), right = flag(settings, "strip_right", true);
    return [=](std::u32string& text) {
      size_t start = 0, end = text.size();
      while (left && start < end && is_space(text[start])) ++start;
      while (right && end > start && is_space(text[end - 1])) --end;
      text = text.substr(start, end - start);
    };
  }
  if (type == "Replace") {
    return [find = read_pattern(settings.at("pattern")), by = to_characters(settings.at("content").as_string())](
               std::u32string& text) { text = replace_all(text, find, by); };
  }
  if (type == "Prepend") {
    return [prefix = to_characters(settings.at("prepend").as_string())](std::u32string& text) {
      if (!text.empty()) text = prefix + text;
    };
  }
  if (type == "ByteLevel") {
    return [](std::u32string& text) {
      std::u32string out;
      ByteLevel::get().append(text, out);
      text = std::move(out);
    };
  }
  if (type == "Precompiled") {
    return [map = std::make_shared<const PrecompiledMap>(string(settings, "precompiled_charsmap", ""))](
               std::u32string& text) { text = map->apply(text); };
  }
  if (type == "Nmt") {
    return each_character([](char32_t c, std::u32string& out) {
      auto left_out = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
      auto space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                   c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
      if (!left_out) out += space ? U' ' : c;
    });
  }
  fail_unknown("normalizer", type,
               "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, Replace, "
               "Sequence, Strip, StripAccents");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD
