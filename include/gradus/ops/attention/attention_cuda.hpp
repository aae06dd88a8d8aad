// Attention on a GPU: by cuDNN where it has a plan, else two products around one pass over the scores, forward and
// back.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/device/cuda/cudnn_attention.hpp"
#include "gradus/ops/attention/attention_problem.hpp"
#include "gradus/ops/live_stream.hpp"
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

/// Attention in bf16 or f16 without terms of its own, as one kernel of cuDNN's: memory grows with queries + keys.
template <HalfWidth T>
class AttentionByCudnn {
 public:
  using Shape = cuda::detail::AttentionGraphShape;
  using Ids = cuda::detail::AttentionIds;
  static constexpr const char* name = "scaled_dot_product_attention";

  /// Whether it is a case for cuDNN at all; that there is a plan is known when it is asked for.
  static bool takes(const AttentionProblem<T>& p, Device device) {
    auto* plans = cuda::detail::CudnnPlans::of(device);
    if (plans == nullptr || cuda::detail::deterministic_only() || p.mask || p.bias || p.alibi != nullptr ||
        p.window > 0 || p.first_query > 0 || p.dropout > 0)
      return false;
    if (p.n * p.heads * p.queries * p.keys == 0 || p.depth % 8 != 0 || p.width % 8 != 0) return false;
    return plans->version() > 91500 || p.keys % 128 == 0;  // before, gradients were wrong at a ragged end
  }

  AttentionByCudnn(const AttentionProblem<T>& p, const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value)
      : plans_(*cuda::detail::CudnnPlans::of(query.device())),
        p_(p),
        query_(aligned(query)),
        key_(aligned(key)),
        value_(aligned(value)),
        scale_(static_cast<float>(p.scale)),
        lowest_(plans_.version() < 91000 ? std::numeric_limits<float>::lowest()
                                         : -std::numeric_limits<float>::infinity()) {
    shape_.type = cuda::detail::cudnn_type(dtype_of<T>);
    shape_.causal = p.causal ? 1 : 0;
    shape_.n = p.n;
    shape_.heads = p.heads;
    shape_.kv_heads = p.kv_heads;
    shape_.queries = p.queries;
    shape_.keys = p.keys;
    shape_.depth = p.depth;
    shape_.width = p.width;
    shape_.query = strides(query_);
    shape_.key = strides(key_);
    shape_.value = strides(value_);
  }

  /// Result and logarithms of the sums of rows, (n, heads, queries); nothing when cuDNN has no plan.
  std::optional<std::pair<Tensor<T>, Tensor<float>>> forward() {
    auto y = empty_by_rows<T>(p_.n, p_.heads, p_.queries, p_.width, query_.device());
    shape_.y = strides(y);
    const auto* plan = plans_.find(name, "attention", shape_, [&](const auto& api, const auto& target) {
      return cuda::detail::AttentionGraph(api, shape_).forward().plan(target);
    });
    if (plan == nullptr) return std::nullopt;
    auto log_sums = Tensor<float>::empty({p_.n, p_.heads, p_.queries}, query_.device(), "scaled_dot_product_attention");
    run(*plan, {{Ids::y, y.data()}, {Ids::log_sums, log_sums.data()}});
    return std::pair{y, log_sums};
  }

  std::optional<std::tuple<Tensor<T>, Tensor<T>, Tensor<T>>> backward(const Tensor<T>& y, const Tensor<float>& log_sums,
                                                                      const Tensor<T>& dy_in) {
    auto device = query_.device();
    auto dy = aligned(dy_in);
    auto [dq, dk, dv] = empty_gradients(device);
    shape_.y = strides(y);
    shape_.dy = strides(dy);
    shape_.dq = strides(dq);
    shape_.dk = strides(dk);
    shape_.dv = strides(dv);
    const auto* plan = plans_.find(name, "attention_gradient", shape_, [&](const auto& api, const auto& target) {
      return cuda::detail::AttentionGraph(api, shape_).backward().plan(target);
    });
    if (plan == nullptr) return std::nullopt;
    auto means = Tensor<float>::empty({p_.n, p_.heads, p_.queries}, device),
         dq_sums = Tensor<float>::empty({p_.n, p_.heads, p_.queries, p_.depth}, device);
    if (plans_.version() < 90600) dq_sums.zero_();  // later ones do it themselves
    const float one = 1;
    run(*plan, {{Ids::y, y.data()},
                {Ids::log_sums, log_sums.data()},
                {Ids::dy, dy.data()},
                {Ids::dq, dq.data()},
                {Ids::dk, dk.data()},
                {Ids::dv, dv.data()},
                {Ids::means, means.data()},
                {Ids::dq_sums, dq_sums.data()},
                {Ids::one, &one}});
    return std::tuple{dq, dk, dv};
  }

 private:
  /// Beside one another where query, key and value are parts of one tensor, so that their gradients are, too.
  std::array<Tensor<T>, 3> empty_gradients(Device device) const {
    auto together = query_.impl()->storage == key_.impl()->storage &&
                    query_.impl()->storage == value_.impl()->storage && p_.heads == p_.kv_heads &&
                    p_.queries == p_.keys && p_.depth == p_.width;
    if (!together) {
      return {empty_by_rows<T>(p_.n, p_.heads, p_.queries, p_.depth, device),
              empty_by_rows<T>(p_.n, p_.kv_heads, p_.keys, p_.depth, device),
              empty_by_rows<T>(p_.n, p_.kv_heads, p_.keys, p_.width, device)};
    }
    auto row = p_.heads * p_.depth;
    auto memory = Tensor<T>::empty({p_.n, p_.queries, 3, p_.heads, p_.depth}, device);
    auto part = [&](int64_t i) {
      return raw_view(memory, {p_.n, p_.heads, p_.queries, p_.depth}, {p_.queries * 3 * row, p_.depth, 3 * row, 1},
                      i * row);
    };
    return {part(0), part(1), part(2)};
  }
  static cuda::detail::CudnnSizes strides(const Tensor<T>& x) {
    return {x.strides()[0], x.strides()[1], x.strides()[2], x.strides()[3]};
  }
  /// x itself when its numbers lie side by side and rows begin at multiples of 16 bytes, else a dense copy.
  static Tensor<T> aligned(const Tensor<T>& x) {
    auto fits = x.strides()[3] == 1 && reinterpret_cast<uintptr_t>(x.data()) % 16 == 0;
    for (int i = 0; i < 3; ++i) fits = fits && x.strides()[i] > 0 && x.strides()[i] % 8 == 0;
    return fits ? x : x.clone();
  }
  void run(const cuda::detail::CudnnPlan& plan, std::vector<std::pair<int64_t, const void*>> tensors) {
    tensors.insert(
        tensors.end(),
        {{Ids::query, query_.data()}, {Ids::key, key_.data()}, {Ids::value, value_.data()}, {Ids::scale, &scale_}});
    if (p_.causal) tensors.emplace_back(Ids::lowest, &lowest_);
    plans_.run(plan, tensors);
  }

  cuda::detail::CudnnPlans& plans_;
  const AttentionProblem<T>& p_;
  Tensor<T> query_, key_, value_;
  float scale_, lowest_;
  Shape shape_{};
};

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
    auto dropped = card_.bound > 0 ? Tensor<T>::empty(weights.shape(), weights.device(), "scaled_dot_product_attention")
                                   : Tensor<T>();
    auto* to_dropped = dropped.defined() ? dropped.impl()->data() : nullptr;
    auto rows = p_.n * p_.heads * p_.queries;
    cuda::detail::launch_refreshed(name, weights.device(), cuda_attention, {dtype_of<T>}, "block_attention_weights",
                                   grid(rows), refresh(), card_, rows, static_cast<C>(p_.scale), keep(),
                                   weights.impl()->data(), to_dropped, p_.mask.data, p_.bias.data, p_.alibi);
    auto y = matmul(dropped.defined() ? dropped : weights, grouped(value));
    return {joined(y), {weights, dropped, {}}};
  }
  std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> by_products_backward(const Tensor<T>& query, const Tensor<T>& key,
                                                                   const Tensor<T>& value, const Kept& kept,
                                                                   const Tensor<T>& dy) const {
    const auto& [weights, dropped, log_sums] = kept;
    auto q = grouped(query), k = grouped(key), v = grouped(value), d = grouped(dy);
    auto slopes = matmul(d, transpose(v));  // (n, kv_heads, group, queries, keys)
    auto rows = p_.n * p_.heads * p_.queries;
    cuda::detail::launch_refreshed(name, weights.device(), cuda_attention, {dtype_of<T>}, "block_attention_gradient",
                                   grid(rows), refresh(), card_, rows, static_cast<C>(p_.scale), keep(),
                                   slopes.impl()->data(), weights.data());
    auto dq = matmul(slopes, k);
    auto dk = sum_to(matmul(transpose(slopes), q), k.shape());
    auto dv = sum_to(matmul(transpose(dropped.defined() ? dropped : weights), d), v.shape());
    return {joined(dq), joined(dk), joined(dv)};
  }

  static cuda::detail::Grid grid(int64_t rows) { return {std::min<int64_t>(rows, 1 << 16)}; }
  /// The random numbers of dropout, in each replay of a captured step.
  auto refresh() const {
    return [live = p_.live](CardAttention& card, auto&...) {
      if (live != nullptr) std::tie(card.seed, card.offset) = std::tie(live->seed, live->offset);
    };
  }
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
