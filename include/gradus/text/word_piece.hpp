// WordPiece (as in BERT): a word is cut, from the left, into the longest tokens there are; and whole words.
#pragma once

#include "gradus/text/unicode.hpp"
#include "gradus/text/vocabulary.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

struct WordPieceOptions {
  std::string unknown = "[UNK]", continuing_prefix = "##";
  int64_t most_characters = 100;  ///< a longer word is unknown
};

class WordPiece final : public SubwordModel {
 public:
  WordPiece(Vocabulary vocabulary, WordPieceOptions options)
      : SubwordModel(std::move(vocabulary)), options_(std::move(options)), unknown_(vocabulary_.at(options_.unknown)) {}

  void encode(std::u32string_view piece, std::vector<int64_t>& ids) const override {
    auto before = ids.size();
    if (static_cast<int64_t>(piece.size()) > options_.most_characters) {
      ids.push_back(unknown_);
      return;
    }
    std::string text;  // prefix, and from the second character of a word on what follows
    for (size_t start = 0; start < piece.size();) {
      text.clear();
      if (start > 0) text = options_.continuing_prefix;
      std::vector<size_t> lengths;  // bytes of text with each number of characters
      for (auto i = start; i < piece.size() && text.size() <= vocabulary_.longest(); ++i) {
        gradus::detail::append_utf8(text, piece[i]);
        lengths.push_back(text.size());
      }
      int64_t id = -1;
      while (!lengths.empty() && id < 0) {
        id = vocabulary_.find(std::string_view(text).substr(0, lengths.back()));
        if (id >= 0) start += lengths.size();
        lengths.pop_back();
      }
      if (id < 0) {
        ids.resize(before);
        ids.push_back(unknown_);
        return;
      }
      ids.push_back(id);
    }
  }

  io::Json to_json() const override {
    return io::Json::object({{"type", "WordPiece"},
                             {"unk_token", options_.unknown},
                             {"continuing_subword_prefix", options_.continuing_prefix},
                             {"max_input_chars_per_word", options_.most_characters},
                             {"vocab", vocabulary_.to_json()}});
  }

 private:
  WordPieceOptions options_;
  int64_t unknown_;
};

/// Each piece is one token, or unknown.
class WordLevel final : public SubwordModel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unknown)
      : SubwordModel(std::move(vocabulary)), unknown_(std::move(unknown)), unknown_id_(vocabulary_.at(unknown_)) {}

  void encode(std::u32string_view piece, std::vector<int64_t>& ids) const override {
    auto id = vocabulary_.find(to_utf8(piece));
    ids.push_back(id < 0 ? unknown_id_ : id);
  }
  io::Json to_json() const override {
    return io::Json::object({{"type", "WordLevel"}, {"vocab", vocabulary_.to_json()}, {"unk_token", unknown_}});
  }

 private:
  std::string unknown_;
  int64_t unknown_id_;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
