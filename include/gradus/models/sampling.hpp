// How the next token is chosen from logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <unordered_set>
#include <vector>

#include "gradus/core/error.hpp"
#include "gradus/core/rng.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct GenerateOptions {
  int64_t max_tokens = 100;       ///< how many are made at most
  double temperature = 1;         ///< logits are divided by it; 0: always the likeliest token
  int64_t top_k = 0;              ///< only so many of the likeliest are drawn from; 0: all
  double top_p = 1;               ///< only the fewest of the likeliest whose probabilities reach this sum
  double repetition_penalty = 1;  ///< logits of tokens seen before are divided by it, negative ones multiplied
  int64_t beams = 1;              ///< more: beam search for the likeliest sequence, without drawing
  double length_penalty = 1;      ///< beams are compared by log probability / length^length_penalty
  std::vector<std::vector<int64_t>> stop = {};  ///< making ends behind one of these, which is cut off
  std::function<bool(int64_t)> on_token = {};   ///< gets each token as it is drawn; false ends the making
};

}  // namespace gradus::models::inline GRADUS_BUILD

namespace gradus::models::detail::inline GRADUS_BUILD {

inline GRADUS_COLD void check_generate(const GenerateOptions& o) {
  require<ValueError>(o.temperature >= 0, "generate: temperature is ", o.temperature, ", but must be 0 or more");
  require<ValueError>(o.top_k >= 0 && o.top_p > 0 && o.top_p <= 1, "generate: top_k is ", o.top_k, " and top_p ",
                      o.top_p, ", but must be 0 or more, and in (0, 1]");
  require<ValueError>(o.repetition_penalty > 0, "generate: repetition_penalty is ", o.repetition_penalty,
                      ", but must be more than 0");
  require<ValueError>(o.beams >= 1, "generate: ", o.beams, " beams, but there must be at least one");
  require<ValueError>(o.beams == 1 || !o.on_token, "generate: beams change to the end, so on_token needs beams = 1");
}

/// Keskar et al., 2019.
inline void penalize_repetition(std::vector<double>& logits, const std::vector<int64_t>& seen, double penalty) {
  if (penalty == 1) return;
  for (auto token : std::unordered_set<int64_t>(seen.begin(), seen.end())) {
    auto& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

inline void to_log_probabilities(std::vector<double>& logits) {
  auto top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (auto logit : logits) total += std::exp(logit - top);
  require<ValueError>(std::isfinite(total), "generate: the model's logits are not finite");
  for (auto& logit : logits) logit -= top + std::log(total);
}

/// The next token: the likeliest, or drawn from the thread's generator.
inline int64_t choose_token(std::vector<double> logits, const GenerateOptions& options) {
  auto likeliest = [&](int64_t a, int64_t b) {
    auto x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  if (options.temperature > 0) {
    for (auto& logit : logits) logit /= options.temperature;
  }
  to_log_probabilities(logits);
  if (options.temperature == 0) return std::max_element(logits.begin(), logits.end()) - logits.begin();
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  auto kept = std::ssize(order);
  if (options.top_k > 0) kept = std::min(kept, options.top_k);
  if (options.top_p < 1) std::sort(order.begin(), order.end(), likeliest);
  else if (kept < std::ssize(order)) std::nth_element(order.begin(), order.begin() + kept, order.end(), likeliest);
  order.resize(static_cast<size_t>(kept));
  double total = 0;
  auto probability = [&](int64_t token) { return std::exp(logits[static_cast<size_t>(token)]); };
  for (auto token : order) total += probability(token);
  if (options.top_p < 1) {
    double reached = 0;
    size_t count = 0;
    while (count < order.size() && reached < options.top_p * total) reached += probability(order[count++]);
    order.resize(std::max<size_t>(count, 1));
    total = reached;
  }
  auto stream = default_generator().reserve(2);
  auto word = static_cast<uint64_t>(stream.word(0)) << 21 | stream.word(1) >> 11;  // 53 bits
  auto place = static_cast<double>(word) * 0x1p-53 * total;
  for (auto token : order) {
    place -= probability(token);
    if (place < 0) return token;
  }
  return order.back();
}

/// Cuts a stop sequence off the end of `made`, if it ends with one.
inline bool cut_stop(std::vector<int64_t>& made, const GenerateOptions& options) {
  for (const auto& stop : options.stop) {
    if (stop.empty() || stop.size() > made.size() || !std::equal(stop.rbegin(), stop.rend(), made.rbegin())) continue;
    made.resize(made.size() - stop.size());
    return true;
  }
  return false;
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD
