// Attention on a GPU: two products around one pass over the scores, forward and back.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/attention/attention_problem.hpp"
#include "gradus/ops/product/matmul.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What a kernel needs to know of an attention; the same bytes in the text below.
struct CardAttention {
  int64_t heads, queries, keys, window, first_query;
  int64_t mask_strides[4], bias_strides[4];
  uint64_t seed, offset;
  int64_t blocks, block;  ///< of queries, in the numbering of dropout's random words
  uint32_t bound;         ///< of dropout; 0: none
  int32_t causal;
};

inline constexpr std::string_view cuda_attention_text = R"cuda(
struct Attention {
  int64 heads, queries, keys, window, first_query;
  int64 mask_strides[4], bias_strides[4];
  unsigned long long seed, offset;
  int64 blocks, block;
  unsigned bound;
  int causal;
};
// A row of scores: of query i of head `head` of sample n.
struct Place {
  int64 n, head, i;
};
GRADUS_DEVICE Place place_of(const Attention& a, int64 row) {
  Place p;
  p.i = row % a.queries;
  p.head = row / a.queries % a.heads;
  p.n = row / (a.queries * a.heads);
  return p;
}
GRADUS_DEVICE bool sees(const Attention& a, const Place& p, int64 key, const bool* mask) {
  const int64 distance = a.first_query + p.i - key;
  if (a.causal && distance < 0) return false;
  if (a.window > 0 && (distance >= a.window || -distance >= a.window)) return false;
  return mask == 0 || mask[p.n * a.mask_strides[0] + p.head * a.mask_strides[1] + p.i * a.mask_strides[2] +
                           key * a.mask_strides[3]];
}
GRADUS_DEVICE C score_of(const Attention& a, const Place& p, int64 key, C product, C scale, const T* bias,
                         const T* alibi) {
  C score = product * scale;
  if (alibi != 0) {
    const int64 distance = a.first_query + p.i - key;
    score -= widen(alibi[p.head]) * C(distance < 0 ? -distance : distance);
  }
  if (bias != 0)
    score += widen(bias[p.n * a.bias_strides[0] + p.head * a.bias_strides[1] + p.i * a.bias_strides[2] +
                        key * a.bias_strides[3]]);
  return score;
}
// 0 or `keep`, which is 1 / (1 - p).
GRADUS_DEVICE C factor_of(const Attention& a, const Place& p, int64 key, C keep) {
  const int64 block = (p.n * a.heads + p.head) * a.blocks + p.i / a.block;
  const unsigned word = random_word(a.seed, a.offset, (block * a.keys + key) * a.block + p.i % a.block);
  return (word >> 8) < a.bound ? C(0) : keep;
}

// Products of query and key -> weights, in place; with dropout the dropped ones too.
GRADUS_KERNEL block_attention_weights(const __grid_constant__ Attention a, int64 rows, C scale, C keep, T* weights,
                                      T* dropped, const bool* mask, const T* bias, const T* alibi) {
  const C lowest = -from_infinity(C(0));
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const Place p = place_of(a, row);
    T* at = weights + row * a.keys;
    C top = lowest;
    for (int64 k = threadIdx.x; k < a.keys; k += blockDim.x) {
      if (sees(a, p, k, mask)) top = maximum(top, score_of(a, p, k, widen(at[k]), scale, bias, alibi));
    }
    top = block_reduce<Largest>(top, lowest);
    const bool nothing = top == lowest;
    C total = 0;
    for (int64 k = threadIdx.x; k < a.keys; k += blockDim.x) {
      if (!nothing && sees(a, p, k, mask)) total += exp(score_of(a, p, k, widen(at[k]), scale, bias, alibi) - top);
    }
    total = block_reduce<Sum>(total, C(0));
    for (int64 k = threadIdx.x; k < a.keys; k += blockDim.x) {
      C weight = 0;
      if (!nothing && sees(a, p, k, mask))
        weight = exp(score_of(a, p, k, widen(at[k]), scale, bias, alibi) - top) / total;
      at[k] = narrow<T>(weight);
      if (a.bound > 0) dropped[row * a.keys + k] = narrow<T>(weight * factor_of(a, p, k, keep));
    }
  }
}
// Gradients of the (dropped) weights -> those of the products, in place.
GRADUS_KERNEL block_attention_gradient(const __grid_constant__ Attention a, int64 rows, C scale, C keep, T* slopes,
                                       const T* weights) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const Place p = place_of(a, row);
    T* d = slopes + row * a.keys;
    const T* w = weights + row * a.keys;
    C total = 0;
    for (int64 k = threadIdx.x; k < a.keys; k += blockDim.x) {
      const C factor = a.bound > 0 ? factor_of(a, p, k, keep) : C(1);
      total += widen(d[k]) * factor * widen(w[k]);
    }
    total = block_reduce<Sum>(total, C(0));
    for (int64 k = threadIdx.x; k < a.keys; k += blockDim.x) {
      const C factor = a.bound > 0 ? factor_of(a, p, k, keep) : C(1);
      const C weight = widen(w[k]);
      d[k] = narrow<T>(weight == C(0) ? C(0) : weight * (widen(d[k]) * factor - total) * scale);
    }
  }
}
// Turns pairs of numbers i and i + half of each head by angles; y lies as (n, tokens, heads, size).
GRADUS_KERNEL turn_heads(int64 count, int64 heads, int64 tokens, int64 size, int64 half, int64 first, C flip,
                         int64 stride_n, int64 stride_head, int64 stride_token, T* y, const T* x, const T* cosines,
                         const T* sines) {
  GRADUS_EACH(i, count) {
    const int64 column = i % size, head = i / size % heads, token = i / (size * heads) % tokens,
                n = i / (size * heads * tokens);
    const T* from = x + n * stride_n + head * stride_head + token * stride_token;
    if (column >= 2 * half) {
      y[i] = from[column];
      continue;
    }
    const int64 pair = column < half ? column : column - half, angle = (first + token) * half + pair;
    const C a = widen(from[pair]), b = widen(from[pair + half]), c = widen(cosines[angle]),
            s = widen(sines[angle]) * flip;
    y[i] = narrow<T>(column < half ? a * c - b * s : b * c + a * s);
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_attention{"attention", cuda_attention_text};

template <Floating T>
class AttentionOnCard {
 public:
  using C = Compute<T>;

  AttentionOnCard(const AttentionProblem<T>& p, int64_t block) : p_(p), card_{} {
    card_.heads = p.heads;
    card_.queries = p.queries;
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

  struct Result {
    Tensor<T> y, weights, dropped;  ///< weights (n, heads, queries, keys); dropped: undefined without dropout
  };
  Result forward(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    NoGradGuard guard;
    auto weights = matmul(grouped(query), transpose(grouped(key)));  // (n, kv_heads, group, queries, keys)
    auto dropped = card_.bound > 0 ? Tensor<T>::empty(weights.shape(), weights.device()) : Tensor<T>();
    auto* to_dropped = dropped.defined() ? dropped.impl()->data() : nullptr;
    auto rows = p_.n * p_.heads * p_.queries;
    cuda::detail::launch_blocks(name, weights.device(), cuda_attention, {dtype_of<T>}, "block_attention_weights", rows,
                                card_, rows, static_cast<C>(p_.scale), keep(), weights.impl()->data(), to_dropped,
                                p_.mask.data, p_.bias.data, p_.alibi);
    auto y = matmul(dropped.defined() ? dropped : weights, grouped(value));
    return {joined(y), weights, dropped};
  }
  std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> backward(const Tensor<T>& query, const Tensor<T>& key,
                                                       const Tensor<T>& value, const Tensor<T>& weights,
                                                       const Tensor<T>& dropped, const Tensor<T>& dy) const {
    NoGradGuard guard;
    auto q = grouped(query), k = grouped(key), v = grouped(value), d = grouped(dy);
    auto slopes = matmul(d, transpose(v));  // (n, kv_heads, group, queries, keys)
    auto rows = p_.n * p_.heads * p_.queries;
    cuda::detail::launch_blocks(name, weights.device(), cuda_attention, {dtype_of<T>}, "block_attention_gradient", rows,
                                card_, rows, static_cast<C>(p_.scale), keep(), slopes.impl()->data(), weights.data());
    auto dq = matmul(slopes, k);
    auto dk = sum_to(matmul(transpose(slopes), q), k.shape());
    auto dv = sum_to(matmul(transpose(dropped.defined() ? dropped : weights), d), v.shape());
    return {joined(dq), joined(dk), joined(dv)};
  }

 private:
  static constexpr const char* name = "scaled_dot_product_attention";

  C keep() const { return static_cast<C>(1 / (1 - p_.dropout)); }
  /// (n, heads, ...) -> (n, kv_heads, group, ...)
  Tensor<T> grouped(const Tensor<T>& x) const {
    return reshape(x, {p_.n, p_.kv_heads, x.size(1) / p_.kv_heads, x.size(2), x.size(3)});
  }
  Tensor<T> joined(const Tensor<T>& x) const { return reshape(x, {p_.n, x.size(1) * x.size(2), x.size(3), x.size(4)}); }

  const AttentionProblem<T>& p_;
  CardAttention card_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD
