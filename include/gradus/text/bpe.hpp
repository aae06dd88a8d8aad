// Byte-pair encoding (Sennrich, Haddow and Birch, 2016): pairs of neighbours are merged, the pair learnt first at
// first.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <queue>

#include "gradus/text/unicode.hpp"
#include "gradus/text/vocabulary.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

struct BpeOptions {
  std::string unknown;  ///< token for characters that no token has; "": they are left out
  std::string continuing_prefix, end_suffix;
  bool fuse_unknown = false;   ///< neighbours that are unknown become one token
  bool byte_fallback = false;  ///< characters that no token has become their bytes' tokens, such as <0x0A>
  bool ignore_merges = false;  ///< a piece that is a token is taken whole
};

/// Two tokens that become one. Of several merges that can be done, that of the smallest rank is.
struct Merge {
  int64_t left, right, whole, rank;
};

class Bpe final : public SubwordModel {
 public:
  /// Of two merges of the same pair the last counts.
  Bpe(Vocabulary vocabulary, std::vector<Merge> merges, BpeOptions options)
      : SubwordModel(std::move(vocabulary)), options_(std::move(options)), merges_(std::move(merges)) {
    ranks_.reserve(merges_.size());
    for (const auto& merge : merges_)
      ranks_[key(merge.left, merge.right)] = {static_cast<uint32_t>(merge.rank), static_cast<int32_t>(merge.whole)};
    if (!options_.unknown.empty()) unknown_ = vocabulary_.find(options_.unknown);
    for (unsigned byte = 0; byte < 256; ++byte)
      bytes_[byte] = vocabulary_.find(byte_token(static_cast<unsigned char>(byte)));
  }

  /// From the tokens' texts, in the order in which they were learnt.
  static std::vector<Merge> find_merges(const Vocabulary& vocabulary,
                                        const std::vector<std::pair<std::string, std::string>>& pairs,
                                        const std::string& continuing_prefix) {
    std::vector<Merge> merges;
    merges.reserve(pairs.size());
    for (const auto& [left, right] : pairs) {
      auto tail = right.starts_with(continuing_prefix) ? right.substr(continuing_prefix.size()) : right;
      merges.push_back({vocabulary.at(left), vocabulary.at(right), vocabulary.at(left + tail), std::ssize(merges)});
    }
    return merges;
  }

  void encode(std::u32string_view piece, std::vector<int64_t>& ids) const override {
    if (options_.ignore_merges) {
      if (auto whole = vocabulary_.find(to_utf8(piece)); whole >= 0) {
        ids.push_back(whole);
        return;
      }
    }
    auto symbols = read_symbols(piece);
    merge(symbols);
    for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<size_t>(i)].next)
      ids.push_back(symbols[static_cast<size_t>(i)].id);
  }

  io::Json to_json() const override {
    auto merges = io::Json::array();
    for (const auto& merge : merges_)
      merges.push_back(io::Json::array({vocabulary_.token(merge.left), vocabulary_.token(merge.right)}));
    auto or_null = [](const std::string& text) { return text.empty() ? io::Json() : io::Json(text); };
    return io::Json::object({{"type", "BPE"},
                             {"dropout", nullptr},
                             {"unk_token", or_null(options_.unknown)},
                             {"continuing_subword_prefix", or_null(options_.continuing_prefix)},
                             {"end_of_word_suffix", or_null(options_.end_suffix)},
                             {"fuse_unk", options_.fuse_unknown},
                             {"byte_fallback", options_.byte_fallback},
                             {"ignore_merges", options_.ignore_merges},
                             {"vocab", vocabulary_.to_json()},
                             {"merges", std::move(merges)}});
  }

 private:
  struct Symbol {
    int32_t id, previous, next;  ///< neighbours; -1 at the ends; id -1: merged into the one before
  };
  struct Rank {
    uint32_t rank;
    int32_t whole;
  };
  struct Candidate {
    uint32_t rank;
    int32_t at, whole;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };

  static uint64_t key(int64_t left, int64_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
  }

  std::vector<Symbol> read_symbols(std::u32string_view piece) const {
    require<ValueError>(piece.size() < (size_t{1} << 29), "a piece of ", piece.size(), " characters is too long");
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    auto add = [&](int64_t id) {
      auto at = static_cast<int32_t>(symbols.size());
      symbols.push_back({static_cast<int32_t>(id), at - 1, at + 1});
    };
    auto pending = false;  // an unknown token that what follows may join
    std::string text;
    for (size_t i = 0; i < piece.size(); ++i) {
      text.clear();
      if (i > 0) text += options_.continuing_prefix;
      gradus::detail::append_utf8(text, piece[i]);
      if (i + 1 == piece.size()) text += options_.end_suffix;
      if (auto id = vocabulary_.find(text); id >= 0) {
        if (pending) add(unknown_);
        pending = false;
        add(id);
        continue;
      }
      auto byte_id = [&](char c) { return bytes_[static_cast<unsigned char>(c)]; };
      if (options_.byte_fallback && std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) >= 0; })) {
        for (auto c : text) add(byte_id(c));
        continue;
      }
      if (unknown_ < 0) continue;
      if (pending && !options_.fuse_unknown) add(unknown_);
      pending = true;
    }
    if (pending) add(unknown_);
    if (!symbols.empty()) symbols.back().next = -1;
    return symbols;
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    auto at = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
    auto consider = [&](int32_t left) {
      if (left < 0 || at(left).next < 0) return;
      auto found = ranks_.find(key(at(left).id, at(at(left).next).id));
      if (found != ranks_.end()) candidates.push({found->second.rank, left, found->second.whole});
    };
    for (int32_t i = 0; i < static_cast<int32_t>(symbols.size()); ++i) consider(i);
    while (!candidates.empty()) {
      auto best = candidates.top();
      candidates.pop();
      auto& left = at(best.at);
      if (left.id < 0 || left.next < 0) continue;
      auto& right = at(left.next);
      auto found = ranks_.find(key(left.id, right.id));
      if (found == ranks_.end() || found->second.whole != best.whole) continue;  // one of the two has changed
      left.id = best.whole;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) at(left.next).previous = best.at;
      consider(left.previous);
      consider(best.at);
    }
  }

  BpeOptions options_;
  std::vector<Merge> merges_;
  std::unordered_map<uint64_t, Rank> ranks_;
  int64_t unknown_ = -1;
  std::array<int64_t, 256> bytes_{};
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
