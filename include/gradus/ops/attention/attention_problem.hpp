// What an attention is asked for: options, sizes checked once, and which keys a query sees.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "gradus/core/rng.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Which keys a query sees, and how. Query i stands at position first_query + i, key j at position j.
template <Floating T>
struct AttentionOptions {
  Tensor<bool> mask = {};   ///< true where a query sees a key; broadcasts to (n, heads, queries, keys)
  Tensor<T> bias = {};      ///< added to the scores; broadcasts likewise
  bool causal = false;      ///< a query sees no key behind its own position
  int64_t window = 0;       ///< a query sees only keys fewer than this many positions away; 0: all
  Tensor<T> alibi = {};     ///< (heads,): slope times distance is taken from a score (Press et al., 2022); no gradient
  int64_t first_query = 0;  ///< with a cache of earlier keys: how many there are
  double scale = 0;         ///< of the products of query and key; 0: 1 / sqrt(d)
  double dropout = 0;       ///< share of the weights that are dropped
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// A tensor seen as (n, heads, queries, keys), with stride 0 where it is broadcast. Null: not given.
template <class T>
struct ScoreTerm {
  const T* data = nullptr;
  int64_t strides[4] = {};

  explicit operator bool() const { return data != nullptr; }
  const T* at(int64_t n, int64_t head, int64_t query, int64_t key) const {
    return data + n * strides[0] + head * strides[1] + query * strides[2] + key * strides[3];
  }
};

/// Sizes and terms of one call, for its kernels; points into the tensors of the options.
template <Floating T>
struct AttentionProblem {
  int64_t n, heads, kv_heads, queries, keys, depth, width;  ///< depth: of query and key; width: of value
  double scale;
  bool causal;
  int64_t window, first_query;
  ScoreTerm<bool> mask;
  ScoreTerm<T> bias;
  const T* alibi;
  double dropout;
  RandomStream stream;
  std::shared_ptr<const RandomStream> live = nullptr;  ///< the stream of each replay of a captured step

  int64_t group() const { return heads / kv_heads; }  ///< heads that share keys and values

  /// Keys [begin, end) that queries [first, last) see at most.
  std::pair<int64_t, int64_t> visible(int64_t first, int64_t last) const {
    auto low = first_query + first, high = first_query + last - 1;  // positions
    int64_t begin = window > 0 ? low - window + 1 : 0, end = keys;
    if (causal) end = high + 1;
    else if (window > 0) end = high + window;
    return {std::clamp<int64_t>(begin, 0, keys), std::clamp<int64_t>(end, 0, keys)};
  }
  /// Whether every one of these queries sees all keys [begin, end), but for mask and bias.
  bool sees_all(int64_t first, int64_t last, int64_t begin, int64_t end) const {
    auto low = first_query + first, high = first_query + last - 1;
    return (!causal || end - 1 <= low) && (window == 0 || (high - begin < window && end - 1 - low < window));
  }
};

template <Element T>
ScoreTerm<T> score_term(const char* name, const Tensor<T>& term, const Shape& scores) {
  if (!term.defined()) return {};
  auto fits = term.rank() <= 4;
  for (int i = 1; fits && i <= term.rank(); ++i) fits = term.size(-i) == 1 || term.size(-i) == scores[4 - i];
  require<ShapeError>(fits, "scaled_dot_product_attention: ", name, " is ", term.shape(),
                      ", but must broadcast to (n, heads, queries, keys) = ", scores);
  auto strides = broadcast_strides(term.shape(), term.strides(), scores);
  ScoreTerm<T> view{term.data()};
  std::copy_n(strides.begin(), 4, view.strides);
  return view;
}

/// Checks shapes and options. The random words of dropout are not reserved yet.
template <Floating T>
AttentionProblem<T> attention_problem(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value,
                                      const AttentionOptions<T>& options) {
  constexpr auto name = "scaled_dot_product_attention: ";
  require<ShapeError>(query.rank() == 4 && key.rank() == 4 && value.rank() == 4, name, "query is ", query.shape(),
                      ", key ", key.shape(), " and value ", value.shape(),
                      ", but they must be (n, heads, queries, d), (n, heads, keys, d) and (n, heads, keys, width)");
  require_device("scaled_dot_product_attention", query.device(), key, value, options.mask, options.bias, options.alibi);
  auto n = query.size(0), heads = query.size(1), kv_heads = key.size(1);
  require<ShapeError>(key.size(0) == n && value.size(0) == n && value.size(1) == kv_heads &&
                          key.size(3) == query.size(3) && key.size(2) == value.size(2),
                      name, "query is ", query.shape(), ", key ", key.shape(), " and value ", value.shape(),
                      ", but all need the same n, key and value the same heads and keys, query and key the same depth");
  require<ShapeError>(kv_heads > 0 ? heads % kv_heads == 0 : heads == 0, name, "query has ", heads, " heads and key ",
                      kv_heads, ", but the first must be a multiple of the second");
  require<ValueError>(options.window >= 0 && options.first_query >= 0, name, "window is ", options.window,
                      " and first_query ", options.first_query, ", but neither may be negative");
  require<ValueError>(options.dropout >= 0 && options.dropout < 1, name, "dropout is ", options.dropout,
                      ", but must be in [0, 1)");
  require<ShapeError>(!options.alibi.defined() || options.alibi.shape() == Shape{heads}, name, "alibi is ",
                      options.alibi.defined() ? options.alibi.shape() : Shape(), ", but must hold a slope a head: (",
                      heads, ",)");
  Shape scores{n, heads, query.size(2), key.size(2)};
  auto scale = options.scale != 0 ? options.scale : 1 / std::sqrt(static_cast<double>(query.size(3)));
  return {n,
          heads,
          std::max<int64_t>(kv_heads, 1),
          query.size(2),
          key.size(2),
          query.size(3),
          value.size(3),
          scale,
          options.causal,
          options.window,
          options.first_query,
          score_term("mask", options.mask, scores),
          score_term("bias", options.bias, scores),
          options.alibi.defined() ? options.alibi.data() : nullptr,
          options.dropout,
          {}};
}

/// x (n, heads, rows, columns) in memory as (n, rows, heads, columns): dense again when heads are joined.
template <Floating T>
Tensor<T> empty_by_rows(int64_t n, int64_t heads, int64_t rows, int64_t columns, Device device = {}) {
  auto memory = Tensor<T>::empty({n, rows, heads, columns}, device, "scaled_dot_product_attention");
  return raw_view(memory, {n, heads, rows, columns}, {rows * heads * columns, columns, heads * columns, 1});
}

}  // namespace gradus::detail::inline GRADUS_BUILD
