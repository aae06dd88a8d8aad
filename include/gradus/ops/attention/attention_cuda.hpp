// Attention on a GPU: by cuDNN where it has a plan, else two products around one pass over the scores, forward and
// back.
#pragma once

#include "gradus/device/cuda/rows_on_card.hpp"
#include "gradus/ops/attention/attention_cudnn.hpp"
#include "gradus/ops/live_stream.hpp"
#include "gradus/ops/product/matmul.hpp"
#include "gradus/tensor/cuda_loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What a kernel needs to know of an attention; the same bytes in the text below.
struct CardAttention {
  CudaDivisor heads, queries;
  int64_t keys = 0, window = 0, first_query = 0;
  int64_t mask_strides[4] = {}, bias_strides[4] = {};
  uint64_t seed = 0, offset = 0;
  int64_t blocks = 0, block = 0;  ///< of queries, in the numbering of dropout's random words
  uint32_t bound = 0;             ///< of dropout; 0: none
  int32_t causal = 0;
};

inline constexpr std::string_view cuda_attention_text = R"cuda(
struct Attention {
  Divisor heads, queries;
  int64 keys, window, first_query;
  int64 mask_strides[4], bias_strides[4];
  unsigned long long seed, offset;
  int64 blocks, block;
  unsigned bound;
  int causal;
};
// The keys that the query of a row of scores sees, unless they are masked, and what is added to its scores.
struct Sight {
  int query, from, to;
  int64 mask_step, bias_step;
  const bool* mask;
  const T* bias;
  C slope;
};
GRADUS_DEVICE Sight sight_of(const Attention& a, int64 row, const bool* mask, const T* bias, const T* alibi) {
  const int64 line = a.queries.of(row), i = row - line * a.queries.size, n = a.heads.of(line);
  const int64 head = line - n * a.heads.size;
  Sight s;
  const int64 query = a.first_query + i;
  int64 to = a.window > 0 && a.window < a.keys - query ? query + a.window : a.keys;
  if (a.causal && query + 1 < to) to = query + 1;
  s.query = static_cast<int>(query);
  s.from = a.window > 0 && query >= a.window ? static_cast<int>(query - a.window + 1) : 0;
  s.to = static_cast<int>(to);
  s.mask_step = a.mask_strides[3];
  s.bias_step = a.bias_strides[3];
  s.mask = mask;
  if (mask != 0) s.mask += n * a.mask_strides[0] + head * a.mask_strides[1] + i * a.mask_strides[2];
  s.bias = bias;
  if (bias != 0) s.bias += n * a.bias_strides[0] + head * a.bias_strides[1] + i * a.bias_strides[2];
  s.slope = alibi != 0 ? widen(alibi[head]) : C(0);
  return s;
}
// Products of the query and W keys from `key` on -> scores, minus infinity where a key is not seen.
template <int W>
GRADUS_DEVICE Pack<C, W> scores_of(const Sight& s, int key, C scale, Pack<C, W> scores) {
#pragma unroll
  for (int k = 0; k < W; ++k) scores.at[k] *= scale;
  if (s.slope != C(0)) {
#pragma unroll
    for (int k = 0; k < W; ++k) scores.at[k] -= s.slope * abs(C(s.query - key - k));
  }
  if (s.bias != 0) {
    const T* bias = s.bias + key * s.bias_step;
#pragma unroll
    for (int k = 0; k < W; ++k) scores.at[k] += widen(bias[k * s.bias_step]);
  }
  const C lowest = -from_infinity(C(0));
  if (s.mask != 0) {
    const bool* mask = s.mask + key * s.mask_step;
#pragma unroll
    for (int k = 0; k < W; ++k) scores.at[k] = mask[k * s.mask_step] ? scores.at[k] : lowest;
  }
#pragma unroll
  for (int k = 0; k < W; ++k) scores.at[k] = key + k >= s.from && key + k < s.to ? scores.at[k] : lowest;
  return scores;
}
template <int W, int P>
GRADUS_DEVICE void attention_weights(const Team& team, const Attention& a, int64 rows, C scale, T* weights,
                                     const bool* mask, const T* bias, const T* alibi) {
  const C lowest = -from_infinity(C(0));
  for (int64 row = team.first; row < rows; row += team.step) {
    const Sight sight = sight_of(a, row, mask, bias, alibi);
    T* to = weights + row * a.keys;
    Row<W, P> products;
    products.fetch(team, a.keys, to);
    Pack<C, W> kept[P > 0 ? P : 1];
    C top = lowest, total = 0;
    each_pack<W, P>(team, a.keys, [&](int p, Column<P> key) {
      kept[p] = scores_of(sight, static_cast<int>(key), scale, products.pack(p, key));
#pragma unroll
      for (int k = 0; k < W; ++k) top = maximum(top, kept[p].at[k]);
    });
    top = team_reduce<Largest>(team, top, lowest);
    if (top == lowest) top = 0;  // nothing is seen: all weights are 0
    each_pack<W, P>(team, a.keys, [&](int p, Column<P> key) {
      if (P == 0) kept[p] = scores_of(sight, static_cast<int>(key), scale, products.pack(p, key));
#pragma unroll
      for (int k = 0; k < W; ++k) {
        kept[p].at[k] = exp(kept[p].at[k] - top);
        total += kept[p].at[k];
      }
    });
    total = team_reduce<Sum>(team, total, C(0));
    const C share = total == C(0) ? C(0) : C(1) / total;
    each_pack<W, P>(team, a.keys, [&](int p, Column<P> key) {
      if (P == 0) kept[p] = scores_of(sight, static_cast<int>(key), scale, products.pack(p, key));
#pragma unroll
      for (int k = 0; k < W; ++k) kept[p].at[k] = (P > 0 ? kept[p].at[k] : exp(kept[p].at[k] - top)) * share;
      store_pack(to + key, narrow_pack<T>(kept[p]));
    });
  }
}
// Products of query and key -> weights, in place.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_attention_weights(const __grid_constant__ Attention a, int64 rows, int by_warps, C scale, T* weights,
                        const bool* mask, const T* bias, const T* alibi) {
  const Team team = team_of(by_warps != 0);
  if (number > 0) attention_weights<wide, number / wide>(team, a, rows, scale, weights, mask, bias, alibi);
  else if (in_packs(a.keys, static_cast<const T*>(weights)))
    attention_weights<wide, 0>(team, a, rows, scale, weights, mask, bias, alibi);
  else attention_weights<1, 0>(team, a, rows, scale, weights, mask, bias, alibi);
}
// Dropout of (heads, queries, keys). Four queries of a key share the words of a quad.
GRADUS_KERNEL drop_attention(const __grid_constant__ Attention a, int64 heads, C keep, T* to, const T* from) {
  const int64 quads = (a.queries.size + 3) / 4;
  GRADUS_EACH(task, heads * quads * a.keys) {
    const int64 line = task / a.keys, key = task - line * a.keys, head = line / quads, first = (line - head * quads) * 4;
    const int64 block = head * a.blocks + first / a.block;
    unsigned words[4];
    random_words(a.seed, a.offset, ((block * a.keys + key) * a.block + first % a.block) / 4, words);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64 i = (head * a.queries.size + first + k) * a.keys + key;
      if (first + k < a.queries.size) to[i] = narrow<T>((words[k] >> 8) < a.bound ? C(0) : widen(from[i]) * keep);
    }
  }
}

template <int W, int P>
GRADUS_DEVICE void attention_gradient(const Team& team, int64 rows, int64 keys, C scale, T* slopes, const T* weights) {
  for (int64 row = team.first; row < rows; row += team.step) {
    T* to = slopes + row * keys;
    Row<W, P> d, w;
    d.fetch(team, keys, to);
    w.fetch(team, keys, weights + row * keys);
    C total = 0;
    each_pack<W, P>(team, keys, [&](int p, Column<P> key) {
      const Pack<C, W> slope = d.pack(p, key), weight = w.pack(p, key);
#pragma unroll
      for (int k = 0; k < W; ++k) total += slope.at[k] * weight.at[k];
    });
    total = team_reduce<Sum>(team, total, C(0));
    each_pack<W, P>(team, keys, [&](int p, Column<P> key) {
      Pack<C, W> slope = d.pack(p, key);
      const Pack<C, W> weight = w.pack(p, key);
#pragma unroll
      for (int k = 0; k < W; ++k)
        slope.at[k] = weight.at[k] == C(0) ? C(0) : weight.at[k] * (slope.at[k] - total) * scale;
      store_pack(to + key, narrow_pack<T>(slope));
    });
  }
}
// Gradients of the weights -> those of the products, in place.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_attention_gradient(int64 rows, int64 keys, int by_warps, C scale, T* slopes, const T* weights) {
  const Team team = team_of(by_warps != 0);
  if (number > 0) attention_gradient<wide, number / wide>(team, rows, keys, scale, slopes, weights);
  else if (in_packs(keys, static_cast<const T*>(slopes), weights))
    attention_gradient<wide, 0>(team, rows, keys, scale, slopes, weights);
  else attention_gradient<1, 0>(team, rows, keys, scale, slopes, weights);
}
)cuda";
inline std::string_view cuda_attention() {
  static const auto text = join(cuda_rows_text, cuda_attention_text);
  return text;
}

template <Floating T>
class AttentionOnCard {
 public:
  using C = Compute<T>;

  /// `block`: queries that share random words, a multiple of 4.
  AttentionOnCard(const AttentionProblem<T>& p, int64_t block)
      : p_(p), card_{CudaDivisor(p.heads), CudaDivisor(p.queries)} {
    card_.keys = p.keys;
    card_.window = p.window;
    card_.first_query = p.first_query;
    std::copy_n(p.mask.strides, 4, card_.mask_strides);
    std::copy_n(p.bias.strides, 4, card_.bias_strides);
    card_.seed = p.stream.seed;
    card_.offset = p.stream.offset;
    card_.block = block;
    card_.blocks = (p.queries + block - 1) / block;
    card_.bound = static_cast<uint32_t>(p.dropout * 0x1p24);
    card_.causal = p.causal ? 1 : 0;
  }

  /// What backward needs of forward: from cuDNN the logarithms of the sums of rows and the result, else the weights.
  struct Kept {
    Tensor<T> weights, dropped;  ///< (n, heads, queries, keys); dropped: undefined without dropout
    Tensor<float> log_sums;      ///< (n, heads, queries)
  };
  std::pair<Tensor<T>, Kept> forward(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    NoGradGuard guard;
    if constexpr (HalfWidth<T>) {
      if (AttentionByCudnn<T>::takes(p_, query.device())) {
        if (auto result = AttentionByCudnn<T>(p_, query, key, value).forward())
          return {result->first, {{}, {}, result->second}};
      }
    }
    return by_products(query, key, value);
  }
  /// y: undefined unless cuDNN made it.
  std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> backward(const Tensor<T>& query, const Tensor<T>& key,
                                                       const Tensor<T>& value, const Tensor<T>& y, Kept kept,
                                                       const Tensor<T>& dy) const {
    NoGradGuard guard;
    if constexpr (HalfWidth<T>) {
      if (kept.log_sums.defined()) {
        if (auto result = AttentionByCudnn<T>(p_, query, key, value).backward(y, kept.log_sums, dy)) return *result;
        kept = by_products(query, key, value).second;  // there was a plan for forward alone
      }
    }
    return by_products_backward(query, key, value, kept, dy);
  }

 private:
  static constexpr const char* name = "scaled_dot_product_attention";

  std::pair<Tensor<T>, Kept> by_products(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    auto weights = matmul(grouped(query), transpose(grouped(key)));  // (n, kv_heads, group, queries, keys)
    auto rows = score_rows({weights.data()});
    cuda::detail::launch(name, weights.device(), rows.text, {dtype_of<T>}, "block_attention_weights", rows.grid(),
                         card_, rows.rows, rows.by_warps ? 1 : 0, static_cast<C>(p_.scale), weights.impl()->data(),
                         p_.mask.data, p_.bias.data, p_.alibi);
    Tensor<T> dropped;
    if (card_.bound > 0) {
      dropped = Tensor<T>::empty(weights.shape(), weights.device(), name);
      drop(weights, dropped);
    }
    auto y = matmul(dropped.defined() ? dropped : weights, grouped(value));
    return {joined(y), {weights, dropped, {}}};
  }
  std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> by_products_backward(const Tensor<T>& query, const Tensor<T>& key,
                                                                   const Tensor<T>& value, const Kept& kept,
                                                                   const Tensor<T>& dy) const {
    const auto& [weights, dropped, log_sums] = kept;
    auto q = grouped(query), k = grouped(key), v = grouped(value), d = grouped(dy);
    auto slopes = matmul(d, transpose(v));  // (n, kv_heads, group, queries, keys)
    if (card_.bound > 0) drop(slopes, slopes);
    auto rows = score_rows({slopes.data(), weights.data()});
    cuda::detail::launch(name, weights.device(), rows.text, {dtype_of<T>}, "block_attention_gradient", rows.grid(),
                         rows.rows, p_.keys, rows.by_warps ? 1 : 0, static_cast<C>(p_.scale), slopes.impl()->data(),
                         weights.data());
    auto dq = matmul(slopes, k);
    auto dk = sum_to(matmul(transpose(slopes), q), k.shape());
    auto dv = sum_to(matmul(transpose(dropped.defined() ? dropped : weights), d), v.shape());
    return {joined(dq), joined(dk), joined(dv)};
  }

  RowsOnCard<T> score_rows(std::initializer_list<const void*> places) const {
    return {"attention", cuda_attention(), p_.n * p_.heads * p_.queries, p_.keys, places};
  }
  /// Dropout of the weights or, the same, of their gradients; with random numbers of its own in each replay of a
  /// captured step.
  void drop(const Tensor<T>& from, Tensor<T>& to) const {
    auto heads = p_.n * p_.heads, tasks = heads * ((p_.queries + 3) / 4) * p_.keys;
    auto refresh = [live = p_.live](CardAttention& card, auto&...) {
      if (live != nullptr) std::tie(card.seed, card.offset) = std::tie(live->seed, live->offset);
    };
    cuda::detail::launch_refreshed(name, from.device(), score_rows({nullptr}).text, {dtype_of<T>}, "drop_attention",
                                   {cuda::detail::Context::of(from.device()).blocks_for(tasks, 256)}, refresh, card_,
                                   heads, static_cast<C>(1 / (1 - p_.dropout)), to.impl()->data(), from.data());
  }
  /// (n, heads, ...) -> (n, kv_heads, group, ...)
  Tensor<T> grouped(const Tensor<T>& x) const {
    return reshape(x, {p_.n, p_.kv_heads, x.size(1) / p_.kv_heads, x.size(2), x.size(3)});
  }
  Tensor<T> joined(const Tensor<T>& x) const { return reshape(x, {p_.n, x.size(1) * x.size(2), x.size(3), x.size(4)}); }

  const AttentionProblem<T>& p_;
  CardAttention card_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD
