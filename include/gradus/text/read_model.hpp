// Reads what a tokenizer's files say of tokens, merges and scores.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gradus/io/json_reader.hpp"
#include "gradus/text/bpe.hpp"
#include "gradus/text/pre_tokenizer.hpp"
#include "gradus/text/unigram.hpp"
#include "gradus/text/word_piece.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Without the ends of lines; what follows the last of them is a line only when it is not empty.
inline std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at < text.size();) {
    auto end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    at = end + 1;
  }
  return lines;
}
std::vector<std::string_view> lines_of(std::string&&) = delete;  // the lines would outlive it

using MergePairs = std::vector<std::pair<std::string, std::string>>;

inline std::pair<std::string, std::string> read_merge(std::string_view line) {
  auto space = line.find(' ');
  require<FormatError>(space != line.npos && line.find(' ', space + 1) == line.npos, "merge '", line,
                       "' is not two tokens with a space between");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

/// merges.txt: a line for each, the first may be "#version: 0.2".
inline MergePairs read_merges_text(std::string_view text) {
  MergePairs merges;
  for (auto line : lines_of(text)) {
    if (!line.starts_with("#version") && !line.empty()) merges.push_back(read_merge(line));
  }
  return merges;
}

inline std::shared_ptr<const SubwordModel> read_bpe(const io::Json& model) {
  const auto* dropout = model.find("dropout");
  require<FormatError>(dropout == nullptr || dropout->is_null() || dropout->as_number() == 0,
                       "BPE with dropout gives other ids each time: set it to null");
  BpeOptions options{string(model, "unk_token", ""),          string(model, "continuing_subword_prefix", ""),
                     string(model, "end_of_word_suffix", ""), flag(model, "fuse_unk", false),
                     flag(model, "byte_fallback", false),     flag(model, "ignore_merges", false)};
  auto vocabulary = Vocabulary::read(model.at("vocab"));
  MergePairs pairs;
  for (const auto& merge : model.at("merges").as_array()) {
    if (merge.kind() == io::Json::Kind::string) {
      pairs.push_back(read_merge(merge.as_string()));
      continue;
    }
    const auto& parts = merge.as_array();
    require<FormatError>(parts.size() == 2, "a merge of ", parts.size(), " tokens");
    pairs.push_back({parts[0].as_string(), parts[1].as_string()});
  }
  auto merges = Bpe::find_merges(vocabulary, pairs, options.continuing_prefix);
  return std::make_shared<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
}

inline std::shared_ptr<const SubwordModel> read_unigram(const io::Json& model) {
  Vocabulary vocabulary;
  std::vector<double> scores;
  for (const auto& entry : model.at("vocab").as_array()) {
    const auto& parts = entry.as_array();
    require<FormatError>(parts.size() == 2, "a token of Unigram with ", parts.size(),
                         " parts: token and score are two");
    vocabulary.add(parts[0].as_string(), std::ssize(scores));
    scores.push_back(parts[1].as_number());
  }
  return std::make_shared<Unigram>(std::move(vocabulary), std::move(scores), count(model, "unk_id", -1),
                                   flag(model, "byte_fallback", false));
}

/// The member "model" of a tokenizer.json. FormatError names a kind that is not known. Old files do not name the kind.
inline std::shared_ptr<const SubwordModel> read_model(const io::Json& model) {
  const auto* named = model.find("type");
  auto type = named != nullptr                                     ? named->as_string()
              : model.find("merges") != nullptr                    ? "BPE"
              : model.find("unk_id") != nullptr                    ? "Unigram"
              : model.find("continuing_subword_prefix") != nullptr ? "WordPiece"
                                                                   : "WordLevel";
  if (type == "BPE") return read_bpe(model);
  if (type == "Unigram") return read_unigram(model);
  if (type == "WordPiece") {
    WordPieceOptions options{string(model, "unk_token", "[UNK]"), string(model, "continuing_subword_prefix", "##"),
                             count(model, "max_input_chars_per_word", 100)};
    return std::make_shared<WordPiece>(Vocabulary::read(model.at("vocab")), std::move(options));
  }
  if (type == "WordLevel")
    return std::make_shared<WordLevel>(Vocabulary::read(model.at("vocab")), string(model, "unk_token", "[UNK]"));
  fail_unknown("model", type, "BPE, Unigram, WordLevel, WordPiece");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD
