#pragma once

#include "gradus/ops/attention/attention_backward.hpp"
#include "gradus/ops/attention/attention_operators.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/attention/attention_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

/// softmax(query key^T * scale + bias) value (Vaswani et al., 2017): query (n, heads, queries, d), key (n, kv_heads,
/// keys, d), value (n, kv_heads, keys, width) -> (n, heads, queries, width), which lies in memory as (n, queries,
/// heads, width). heads is a multiple of kv_heads; as many heads in a row share keys and values (grouped queries,
/// Ainslie et al., 2023). Computed block by block, so memory grows with queries + keys, not with their product; only a
/// bias that needs a gradient takes a matrix of all scores. A query that sees no key gives 0, with gradients of 0. As
/// torch.nn.functional.scaled_dot_product_attention with enable_gqa; is_causal is `causal` with first_query 0.
template <Floating T>
Tensor<T> scaled_dot_product_attention(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value,
                                       const AttentionOptions<T>& options = {}) {
  using C = Compute<T>;
  auto problem = detail::attention_problem(query, key, value, options);
  if (options.dropout > 0) {
    auto blocks = (problem.queries + detail::query_block - 1) / detail::query_block;
    auto words = problem.n * problem.heads * blocks * problem.keys * detail::query_block;
    problem.stream = default_generator().reserve(words);
#if defined(GRADUS_CUDA)
    problem.live = detail::live_stream("scaled_dot_product_attention", query.device(), problem.stream, words);
#endif
  }
  auto device = query.device();
  if (grad_enabled() && options.bias.defined() && options.bias.requires_grad()) {
    return detail::attend_by_operators(problem, options, device,
                                       [&](const auto& by) { return by.forward(query, key, value); });
  }
#if defined(GRADUS_CUDA)
  if (!device.is_cpu()) {
    auto [result, kept] = detail::AttentionOnCard<T>(problem, detail::query_block).forward(query, key, value);
    auto y = kept.log_sums.defined() ? result.detach() : Tensor<T>();
    return differentiable(
        "scaled_dot_product_attention", result, inputs(query, key, value),
        [problem, options, query = saved(query), key = saved(key), value = saved(value), y = saved(y), sums = kept,
         mask = saved(options.mask), bias = saved(options.bias)](
            const Tensor<T>& dy, const std::array<bool, 3>&) -> std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> {
          mask(), bias();  // as they were
          if (grad_enabled()) {
            return detail::attend_by_operators(problem, options, dy.device(), [&](const auto& by) {
              return by.gradient(query(), key(), value(), dy);
            });
          }
          return detail::AttentionOnCard<T>(problem, detail::query_block)
              .backward(query(), key(), value(), y(), sums, dy);
        });
  }
#endif
  auto y = detail::empty_by_rows<T>(problem.n, problem.heads, problem.queries, problem.width);
  auto log_sums = Tensor<C>::empty({problem.n, problem.heads, problem.queries});
  detail::attention_forward(problem, query, key, value, y, reinterpret_cast<C*>(log_sums.impl()->data()));
  return differentiable(
      "scaled_dot_product_attention", y, inputs(query, key, value),
      [problem, options, query = saved(query), key = saved(key), value = saved(value), y = saved(y.detach()), log_sums,
       mask = saved(options.mask), bias = saved(options.bias)](const Tensor<T>& dy, const std::array<bool, 3>&) {
        mask(), bias();  // as they were
        if (grad_enabled()) {
          return detail::attend_by_operators(problem, options, dy.device(),
                                             [&](const auto& by) { return by.gradient(query(), key(), value(), dy); });
        }
        return std::tuple_cat(detail::attention_backward(problem, query(), key(), value(), y(), log_sums.data(), dy));
      });
}

}  // namespace gradus::inline GRADUS_BUILD
