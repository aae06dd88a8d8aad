// Texts as counts of their words, weighted by how rare the words are: what a fine-tuned network must beat.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "gradus/tensor.hpp"
#include "gradus/text/unicode.hpp"
#include "gradus/text/vocabulary.hpp"

namespace gradus::text::inline GRADUS_BUILD {

struct TfIdfOptions {
  int64_t min_texts = 1;            ///< a word that stands in fewer texts is left out
  int64_t longest = 1;              ///< 2: pairs of neighbours count as words, too, and so on
  bool logarithm_of_count = false;  ///< a word counts 1 + ln(how often it is there)
};

/// The words of each text, padded with weight 0: (n, most words) each.
struct TfIdfRows {
  Tensor<int64_t> words;
  Tensor<float> weights;
};

/// Learns words and how rare they are from texts: words are two or more letters or digits in lower case, weighted by
/// ln((1 + texts) / (1 + texts that have it)) + 1; the weights of a text have length 1. As scikit-learn's
/// TfidfVectorizer.
class TfIdf {
 public:
  explicit TfIdf(std::span<const std::string> texts, const TfIdfOptions& options = {}) : options_(options) {
    require<ValueError>(options.longest >= 1 && options.min_texts >= 1, "TfIdf: neighbours up to ", options.longest,
                        " of at least ", options.min_texts, " texts");
    std::map<std::string, int64_t> found;  // in how many texts
    for (const auto& text : texts) {
      for (const auto& [word, count] : counts_of(text)) ++found[word];
    }
    for (const auto& [word, count] : found) {
      if (count < options.min_texts) continue;
      ids_.emplace(word, std::ssize(rarity_));
      rarity_.push_back(std::log((1 + static_cast<double>(texts.size())) / (1 + static_cast<double>(count))) + 1);
    }
  }

  /// How many words are known.
  int64_t vocabulary() const { return std::ssize(rarity_); }

  TfIdfRows rows(std::span<const std::string> texts) const {
    std::vector<std::vector<std::pair<int64_t, double>>> all;
    size_t most = 0;
    for (const auto& text : texts) {
      auto& row = all.emplace_back();
      double squares = 0;
      for (const auto& [word, count] : counts_of(text)) {
        auto known = ids_.find(word);
        if (known == ids_.end()) continue;
        auto times =
            options_.logarithm_of_count ? 1 + std::log(static_cast<double>(count)) : static_cast<double>(count);
        row.push_back({known->second, times * rarity_[static_cast<size_t>(known->second)]});
        squares += row.back().second * row.back().second;
      }
      for (auto& [word, weight] : row) weight /= std::sqrt(squares);
      most = std::max(most, row.size());
    }
    Shape shape{std::ssize(texts), static_cast<int64_t>(most)};
    TfIdfRows result{zeros<int64_t>(shape), zeros<float>(shape)};
    for (size_t i = 0; i < all.size(); ++i) {
      for (size_t k = 0; k < all[i].size(); ++k) {
        result.words.mutable_data()[i * most + k] = all[i][k].first;
        result.weights.mutable_data()[i * most + k] = static_cast<float>(all[i][k].second);
      }
    }
    return result;
  }

 private:
  std::map<std::string, int64_t> counts_of(std::string_view text) const {
    std::vector<std::string> words;
    std::u32string word;
    auto end = [&] {
      if (word.size() >= 2) words.push_back(detail::to_utf8(word));
      word.clear();
    };
    for (auto c : detail::to_lower(detail::to_characters(text))) {
      if (detail::is_word(c)) {
        word += c;
      } else {
        end();
      }
    }
    end();
    std::map<std::string, int64_t> counts;
    for (size_t i = 0; i < words.size(); ++i) {
      std::string together;
      for (auto k = i; k < std::min(words.size(), i + static_cast<size_t>(options_.longest)); ++k) {
        together += (k > i ? " " : "") + words[k];
        ++counts[together];
      }
    }
    return counts;
  }

  TfIdfOptions options_;
  detail::TextMap<int64_t> ids_;
  std::vector<double> rarity_;
};

}  // namespace gradus::text::inline GRADUS_BUILD
