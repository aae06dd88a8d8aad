// Vocabularies in the form of the Python package tiktoken: a line "base64 of the token's bytes, rank" for each token.
#pragma once

#include <charconv>
#include <map>

#include "gradus/text/tokenizer.hpp"

namespace gradus::text::inline GRADUS_BUILD {

/// What a file of ranks does not say: how text is cut, and the special tokens.
struct TiktokenEncoding {
  std::string pattern;  ///< its matches are the pieces
  std::map<std::string, int64_t> special;

  /// "r50k_base" (GPT-2), "cl100k_base", "o200k_base", or "llama3". ValueError for another.
  static TiktokenEncoding named(std::string_view name);
};

}  // namespace gradus::text::inline GRADUS_BUILD

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Each way to put a token together of two others, in the order of their ranks: what tiktoken merges, since it takes
/// any two neighbours that are a token together.
inline std::vector<Merge> merges_of_ranks(const Vocabulary& vocabulary) {
  std::vector<Merge> merges;
  for (int64_t id = 0; id < vocabulary.end(); ++id) {
    auto token = vocabulary.token(id);
    for (size_t at = 0; at < token.size();) {
      next_character(token, at);
      if (at == token.size()) break;
      auto left = vocabulary.find(token.substr(0, at)), right = vocabulary.find(token.substr(at));
      if (left >= 0 && right >= 0) merges.push_back({left, right, id, id});
    }
  }
  return merges;
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD

namespace gradus::text::inline GRADUS_BUILD {

inline TiktokenEncoding TiktokenEncoding::named(std::string_view name) {
  constexpr std::string_view english = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  auto words = join("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|");
  constexpr std::string_view spaces = "\\s+(?!\\S)|\\s+";
  if (name == "r50k_base" || name == "gpt2") return {std::string(detail::gpt2_pattern), {{"<|endoftext|>", 50256}}};
  if (name == "cl100k_base") {
    return {join(english, "|", words, spaces),
            {{"<|endoftext|>", 100257},
             {"<|fim_prefix|>", 100258},
             {"<|fim_middle|>", 100259},
             {"<|fim_suffix|>", 100260},
             {"<|endofprompt|>", 100276}}};
  }
  if (name == "llama3")
    return {join(english, "|", words, spaces), {{"<|begin_of_text|>", 128000}, {"<|end_of_text|>", 128001}}};
  require<ValueError>(name == "o200k_base", "TiktokenEncoding: '", name,
                      "' is not known; known are r50k_base, cl100k_base, o200k_base, llama3");
  constexpr std::string_view upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  auto start = "[^\\r\\n\\p{L}\\p{N}]?";
  return {join(start, upper, "*", lower, "+", english, "?|", start, upper, "+", lower, "*", english,
               "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|", spaces),
          {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}};
}

/// A tokenizer of a file of ranks. IoError, or FormatError for a line that is none or a byte that has no token.
inline Tokenizer tokenizer_from_tiktoken(const std::string& path, const TiktokenEncoding& encoding) {
  auto text = io::detail::read_whole_file(path);
  auto lines = detail::lines_of(text);
  detail::Vocabulary vocabulary(lines.size());
  try {
    for (auto line : lines) {
      if (line.empty()) continue;
      auto space = line.find(' ');
      int64_t rank = -1;
      if (space != line.npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
      require<FormatError>(rank >= 0, "'", line, "' is not a token in base 64 and its rank");
      std::u32string token;
      for (auto byte : detail::decode_base64(line.substr(0, space)))
        token += detail::ByteLevel::get().character(static_cast<unsigned char>(byte));
      vocabulary.add(detail::to_utf8(token), rank);
    }
    auto merges = detail::merges_of_ranks(vocabulary);
    auto pieces = io::Json::object({{"type", "Split"},
                                    {"pattern", io::Json::object({{"Regex", encoding.pattern}})},
                                    {"behavior", "Isolated"},
                                    {"invert", false}});
    auto settings = detail::byte_level_settings();
    auto bytes = settings.at("pre_tokenizer");
    bytes.set("use_regex", false);
    settings.set("pre_tokenizer",
                 io::Json::object({{"type", "Sequence"}, {"pretokenizers", io::Json::array({pieces, bytes})}}));
    auto added = io::Json::array();
    for (const auto& [token, id] : encoding.special) {
      added.push_back(io::Json::object({{"id", id},
                                        {"content", token},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false},
                                        {"normalized", false},
                                        {"special", true}}));
    }
    settings.set("added_tokens", std::move(added));
    detail::BpeOptions options;
    options.ignore_merges = true;
    return {std::make_shared<detail::Bpe>(std::move(vocabulary), std::move(merges), std::move(options)),
            std::move(settings)};
  } catch (FormatError& error) {
    error.add_context(path);
    throw;
  }
}

}  // namespace gradus::text::inline GRADUS_BUILD
