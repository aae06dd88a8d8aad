// Learns a byte-level BPE vocabulary from texts.
#pragma once

#include <algorithm>
#include <queue>
#include <set>
#include <span>

#include "gradus/text/tokenizer.hpp"

namespace gradus::text::inline GRADUS_BUILD {

struct BpeTrainerOptions {
  int64_t vocabulary = 8192;  ///< tokens in all: special ones, the 256 bytes, then what is learnt
  int64_t min_count = 2;      ///< a pair that is seen less often is not merged
  std::vector<std::string> special{"<|endoftext|>"};  ///< get the first ids
};

}  // namespace gradus::text::inline GRADUS_BUILD

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Counts pairs of neighbours and merges the one seen most often, of those seen as often the one of the smallest ids.
class BpeTrainer {
 public:
  explicit BpeTrainer(const std::vector<std::string>& special) {
    for (const auto& token : special) add(token);
    std::u32string letters;
    for (unsigned byte = 0; byte < 256; ++byte) letters += ByteLevel::get().character(static_cast<unsigned char>(byte));
    std::sort(letters.begin(), letters.end());
    for (auto c : letters) add(to_utf8({&c, 1}));
  }

  /// A piece of text as characters of its bytes, and how often it is there.
  void add_word(std::u32string_view piece, int64_t count) {
    Word word{{}, count};
    for (auto c : piece) word.ids.push_back(static_cast<int32_t>(vocabulary_.at(to_utf8({&c, 1}))));
    words_.push_back(std::move(word));
  }

  void train(int64_t size, int64_t min_count) {
    for (size_t i = 0; i < words_.size(); ++i) count_pairs(i, 1);
    for (const auto& [pair, found] : pairs_) queue_.push({found.count, pair});
    while (vocabulary_.end() < size && !queue_.empty()) {
      auto best = queue_.top();
      queue_.pop();
      auto found = pairs_.find(best.pair);
      if (found == pairs_.end()) continue;
      if (found->second.count != best.count) {  // merges took some of them since it was put here
        if (found->second.count > 0) queue_.push({found->second.count, best.pair});
        continue;
      }
      if (best.count < std::max<int64_t>(min_count, 1)) break;
      merge(best.pair, std::move(found->second.words));
    }
  }

  Vocabulary vocabulary_;
  std::vector<Merge> merges_;

 private:
  using Pair = uint64_t;  // left id << 32 | right id
  struct Word {
    std::vector<int32_t> ids;
    int64_t count;
  };
  struct Found {
    int64_t count = 0;
    std::vector<uint32_t> words;  ///< where it was seen, perhaps several times, perhaps merged away since
  };
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  static Pair pair_of(int64_t left, int64_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
  }
  void add(const std::string& token) { vocabulary_.add(token, vocabulary_.end()); }

  void count_pairs(size_t index, int64_t sign) {
    const auto& word = words_[index];
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) {
      auto& found = pairs_[pair_of(word.ids[i], word.ids[i + 1])];
      found.count += sign * word.count;
      if (sign > 0 && (found.words.empty() || found.words.back() != index))
        found.words.push_back(static_cast<uint32_t>(index));
    }
  }

  void merge(Pair pair, std::vector<uint32_t> words) {
    auto left = static_cast<int32_t>(pair >> 32), right = static_cast<int32_t>(pair & 0xffffffff);
    auto text = std::string(vocabulary_.token(left)) + std::string(vocabulary_.token(right));
    auto whole = static_cast<int32_t>(vocabulary_.find(text));
    if (whole < 0) {
      whole = static_cast<int32_t>(vocabulary_.end());
      add(text);
    }
    merges_.push_back({left, right, whole, std::ssize(merges_)});
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    std::set<Pair> made;
    for (auto index : words) {
      count_pairs(index, -1);
      auto& ids = words_[index].ids;
      size_t kept = 0;
      for (size_t i = 0; i < ids.size(); ++i) {
        auto both = i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
        ids[kept++] = both ? whole : ids[i];
        i += both;
      }
      ids.resize(kept);
      count_pairs(index, 1);
      for (size_t i = 0; i + 1 < kept; ++i) {
        if (ids[i] == whole || ids[i + 1] == whole) made.insert(pair_of(ids[i], ids[i + 1]));
      }
    }
    pairs_.erase(pair);
    for (auto one : made) {
      if (auto found = pairs_.find(one); found != pairs_.end()) queue_.push({found->second.count, one});
    }
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, Found> pairs_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD

namespace gradus::text::inline GRADUS_BUILD {

/// A tokenizer like GPT-2's whose merges are learnt from these texts; the same as the Python package `tokenizers`
/// learns with ByteLevel and an alphabet of all bytes. ValueError when the vocabulary is too small for bytes and
/// special tokens.
inline Tokenizer train_bpe(std::span<const std::string> texts, const BpeTrainerOptions& options = {}) {
  auto least = std::ssize(options.special) + 256;
  require<ValueError>(options.vocabulary >= least, "train_bpe: a vocabulary of ", options.vocabulary,
                      ", but bytes and ", options.special.size(), " special tokens are ", least);
  auto settings = detail::byte_level_settings();
  auto cut = detail::read_pre_tokenizer(settings.at("pre_tokenizer"));
  std::unordered_map<std::u32string, int64_t, detail::TextHash, std::equal_to<>> counts;
  for (const auto& text : texts) {
    detail::Pieces pieces;
    pieces.push_back(detail::to_characters(text));
    cut(pieces);
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (auto found = counts.find(pieces[i]); found != counts.end()) {
        ++found->second;
      } else {
        counts.emplace(std::u32string(pieces[i]), 1);
      }
    }
  }
  detail::BpeTrainer trainer(options.special);
  for (const auto& [piece, count] : counts) trainer.add_word(piece, count);
  trainer.train(options.vocabulary, options.min_count);
  auto added = io::Json::array();
  for (const auto& token : options.special) added.push_back(detail::special_token(trainer.vocabulary_, token));
  settings.set("added_tokens", std::move(added));
  return {
      std::make_shared<detail::Bpe>(std::move(trainer.vocabulary_), std::move(trainer.merges_), detail::BpeOptions{}),
      std::move(settings)};
}

}  // namespace gradus::text::inline GRADUS_BUILD
