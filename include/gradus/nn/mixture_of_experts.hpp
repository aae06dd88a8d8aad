#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "gradus/nn/gated_feed_forward.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/gather.hpp"
#include "gradus/ops/indexing/index_select.hpp"
#include "gradus/ops/loss/softmax.hpp"
#include "gradus/ops/reduction/mean.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct MixtureOptions {
  int64_t experts = 8;
  int64_t chosen = 2;  ///< experts that see a token
};

/// What a mixture gives: `auto [y, balance] = experts(x);`
template <Floating T>
struct MixtureResult {
  Tensor<T> y;        ///< (..., size)
  Tensor<T> balance;  ///< scalar: 1 when all experts have as much to do, more otherwise; add a small part to the loss
};

/// A feed-forward layer of which each token sees only the best experts (Shazeer et al., 2017), gated ones as in
/// Mixtral: x (..., size) -> sum over the chosen of softmax(their scores) * expert(x). Names: gate, experts.0, ... The
/// balance is Fedus et al.'s (2022): experts * sum over experts of (share of tokens) * (mean probability).
template <Floating T>
struct MixtureOfExperts {
  MixtureOptions options;
  Linear<T> gate;
  std::vector<GatedFeedForward<T>> experts;
  GRADUS_FIELDS(options, gate, experts)

  MixtureOfExperts(int64_t size, int64_t hidden, const MixtureOptions& given = {})
      : options(given), gate(size, std::max<int64_t>(given.experts, 0), {.bias = false}) {
    require<ValueError>(options.chosen >= 1 && options.chosen <= options.experts, "MixtureOfExperts: ", options.chosen,
                        " of ", options.experts, " experts cannot be chosen");
    for (int64_t i = 0; i < options.experts; ++i) experts.emplace_back(size, hidden);
  }

  MixtureResult<T> operator()(const Tensor<T>& x) const {
    require<ShapeError>(x.rank() >= 1 && x.size(-1) > 0, "MixtureOfExperts: input is ", x.shape());
    auto rows = reshape(x, {-1, x.size(-1)});                        // (tokens, size)
    auto scores = gate(rows);                                        // (tokens, experts)
    auto best = best_experts(scores);                                // (tokens, chosen), on the host
    auto weights = softmax(gather(scores, 1, best.to(x.device())));  // (tokens, chosen)
    auto flat = reshape(weights, {rows.size(0) * options.chosen});
    auto y = zeros<T>(rows.shape(), x.device());
    std::vector<int64_t> counts;
    for (int64_t expert = 0; expert < options.experts; ++expert) {
      std::vector<int64_t> tokens, places;
      for (int64_t i = 0; i < best.numel(); ++i) {
        if (best.data()[i] != expert) continue;
        tokens.push_back(i / options.chosen);
        places.push_back(i);
      }
      auto count = std::ssize(tokens);
      counts.push_back(count);
      if (count == 0) continue;
      auto where = from_vector(tokens, {count}).to(x.device());
      auto part = experts[static_cast<size_t>(expert)](index_select(rows, 0, where));  // (count, size)
      part = part * unsqueeze(index_select(flat, 0, from_vector(places, {count}).to(x.device())), 1);
      y = y + index_add(part, 0, where, rows.size(0));
    }
    return {reshape(y, x.shape()), balance(scores, counts)};
  }

 private:
  /// The experts with the highest scores of each token, best first; of equal ones the first.
  Tensor<int64_t> best_experts(const Tensor<T>& scores) const {
    auto dense = contiguous(scores.detach()).to(Device::cpu());
    auto best = Tensor<int64_t>::empty({scores.size(0), options.chosen});
    auto* to = best.mutable_data();
    std::vector<int64_t> order(static_cast<size_t>(options.experts));
    for (int64_t row = 0; row < scores.size(0); ++row) {
      auto* of = dense.data() + row * options.experts;
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return static_cast<double>(of[a]) > static_cast<double>(of[b]); });
      std::copy_n(order.begin(), options.chosen, to + row * options.chosen);
    }
    return best;
  }

  Tensor<T> balance(const Tensor<T>& scores, const std::vector<int64_t>& counts) const {
    auto shares = Tensor<T>::empty({options.experts});
    auto* to = shares.mutable_data();
    auto total = static_cast<double>(std::max<int64_t>(scores.size(0) * options.chosen, 1));
    for (size_t i = 0; i < counts.size(); ++i)
      to[i] = static_cast<T>(static_cast<Compute<T>>(static_cast<double>(counts[i]) / total));
    return sum(mean(softmax(scores), 0) * shares.to(scores.device())) * static_cast<double>(options.experts);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
