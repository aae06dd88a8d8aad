// Unigram (Kudo, 2018): of all ways to cut a piece into tokens, the one whose tokens are most probable together.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "gradus/text/unicode.hpp"
#include "gradus/text/vocabulary.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

class Unigram final : public SubwordModel {
 public:
  /// scores: logarithm of each token's probability, by id. unknown: id of the token for what no token is, -1: none.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, int64_t unknown, bool byte_fallback)
      : SubwordModel(std::move(vocabulary)),
        scores_(std::move(scores)),
        unknown_(unknown),
        byte_fallback_(byte_fallback) {
    require<FormatError>(unknown_ >= -1 && unknown_ < std::ssize(scores_), "unk_id ", unknown_, " of ", scores_.size(),
                         " tokens");
    auto least = scores_.empty() ? 0 : scores_[0];
    for (auto score : scores_) {
      require<FormatError>(std::isfinite(score), "a token's score is ", score);
      least = std::min(least, score);
    }
    unknown_score_ = least - 10;
    for (int64_t id = 0; id < vocabulary_.end(); ++id) add_to_trie(vocabulary_.token(id), static_cast<int32_t>(id));
    for (unsigned byte = 0; byte < 256; ++byte)
      bytes_[byte] = vocabulary_.find(byte_token(static_cast<unsigned char>(byte)));
  }

  void encode(std::u32string_view piece, std::vector<int64_t>& ids) const override {
    auto text = to_utf8(piece);
    auto best = find_best(text, piece);
    std::vector<std::pair<size_t, size_t>> tokens;  // from the last to the first; neighbours that are unknown as one
    auto joins = false;
    for (auto end = text.size(); end > 0; end = best[end].start) {
      auto unknown = best[end].id == unknown_;
      if (unknown && joins) {
        tokens.back().first = best[end].start;
      } else {
        tokens.push_back({best[end].start, end});
      }
      joins = unknown;
    }
    for (auto token = tokens.rbegin(); token != tokens.rend(); ++token)
      append(std::string_view(text).substr(token->first, token->second - token->first), ids);
  }

  io::Json to_json() const override {
    auto tokens = io::Json::array();
    for (int64_t id = 0; id < vocabulary_.end(); ++id)
      tokens.push_back(io::Json::array({vocabulary_.token(id), scores_[static_cast<size_t>(id)]}));
    return io::Json::object({{"type", "Unigram"},
                             {"unk_id", unknown_ < 0 ? io::Json() : io::Json(unknown_)},
                             {"vocab", std::move(tokens)},
                             {"byte_fallback", byte_fallback_}});
  }

 private:
  /// The best way to cut the text up to here.
  struct Best {
    double score = 0;
    size_t start = none;
    int64_t id = -1;
  };
  static constexpr size_t none = static_cast<size_t>(-1);

  std::vector<Best> find_best(std::string_view text, std::u32string_view piece) const {
    std::vector<Best> best(text.size() + 1);
    auto offer = [&](size_t start, size_t end, int64_t id, double score) {
      score += best[start].score;
      if (best[end].start == none || score > best[end].score) best[end] = {score, start, id};
    };
    size_t at = 0;
    std::string character;
    for (auto c : piece) {
      character.clear();
      gradus::detail::append_utf8(character, c);
      auto length = character.size();
      auto alone = false;
      uint32_t node = 0;
      for (auto end = at; end < text.size();) {
        node = child(node, static_cast<unsigned char>(text[end++]));
        if (node == 0) break;
        if (auto id = trie_ids_[node]; id >= 0) {
          offer(at, end, id, scores_[static_cast<size_t>(id)]);
          alone |= end - at == length;
        }
      }
      if (!alone) {
        require<ValueError>(unknown_ >= 0, "'", character, "' is no token, and the vocabulary has no unknown token");
        offer(at, at + length, unknown_, unknown_score_);
      }
      at += length;
    }
    return best;
  }

  void append(std::string_view token, std::vector<int64_t>& ids) const {
    if (auto id = vocabulary_.find(token); id >= 0) return ids.push_back(id);
    auto byte_id = [&](char c) { return bytes_[static_cast<unsigned char>(c)]; };
    if (byte_fallback_ && std::all_of(token.begin(), token.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (auto c : token) ids.push_back(byte_id(c));
      return;
    }
    ids.push_back(unknown_);
  }

  // The tokens as a trie: a map from (node, byte) to node; node 0 is the root.
  uint32_t child(uint32_t node, unsigned char byte) const {
    auto found = trie_.find(uint64_t{node} << 8 | byte);
    return found == trie_.end() ? 0 : found->second;
  }
  void add_to_trie(std::string_view token, int32_t id) {
    if (trie_ids_.empty()) trie_ids_.push_back(-1);
    uint32_t node = 0;
    for (auto c : token) {
      auto& next = trie_[uint64_t{node} << 8 | static_cast<unsigned char>(c)];
      if (next == 0) {
        next = static_cast<uint32_t>(trie_ids_.size());
        trie_ids_.push_back(-1);
      }
      node = next;
    }
    if (node != 0) trie_ids_[node] = id;
  }

  std::vector<double> scores_;
  int64_t unknown_;
  bool byte_fallback_;
  double unknown_score_ = 0;
  std::unordered_map<uint64_t, uint32_t> trie_;
  std::vector<int32_t> trie_ids_;
  std::array<int64_t, 256> bytes_{};
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD
