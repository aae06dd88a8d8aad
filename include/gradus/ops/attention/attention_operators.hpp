// Attention in ordinary operators, with a matrix of all scores: the definition. It gives the gradient of an additive
// bias and derivatives of higher order.
#pragma once

#include "gradus/ops/attention/attention_tile.hpp"
#include "gradus/ops/loss/softmax.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/product/matmul.hpp"
#include "gradus/ops/view/expand.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Heads in groups that share keys and values.
template <Floating T>
struct AttentionByOperators {
  const AttentionProblem<T>& problem;
  const AttentionOptions<T>& options;
  Device device = {};  ///< of query, key and value; what problem points to is the host's

  /// (n, heads, ...) -> (n, kv_heads, group, ...)
  template <Element E>
  Tensor<E> grouped(const Tensor<E>& x) const {
    return reshape(x, {problem.n, problem.kv_heads, x.size(1) / problem.kv_heads, x.size(2), x.size(3)});
  }
  Tensor<T> grouped_term(const Tensor<T>& x) const {
    return grouped(expand(x, {problem.n, problem.heads, problem.queries, problem.keys}));
  }
  /// A value f(n, head, query, key) for every score, grouped.
  template <Element E, class F>
  Tensor<E> each_score(F&& f) const {
    auto values = Tensor<E>::empty({problem.n, problem.heads, problem.queries, problem.keys});
    auto* to = reinterpret_cast<E*>(values.impl()->data());
    for (int64_t pair = 0; pair < problem.n * problem.heads; ++pair) {
      for (int64_t i = 0; i < problem.queries; ++i) {
        for (int64_t j = 0; j < problem.keys; ++j) *to++ = f(pair / problem.heads, pair % problem.heads, i, j);
      }
    }
    return grouped(values.to(device));
  }
  Tensor<T> joined(const Tensor<T>& x) const {
    return reshape(x, {problem.n, x.size(1) * x.size(2), x.size(3), x.size(4)});
  }

  /// Weights (n, kv_heads, group, queries, keys) before dropout; q and k are grouped.
  Tensor<T> weights(const Tensor<T>& q, const Tensor<T>& k) const {
    auto scores = matmul(q, transpose(k)) * problem.scale;
    if (options.alibi.defined()) {
      auto distances = each_score<T>([&](int64_t, int64_t head, int64_t i, int64_t j) {
        auto distance = static_cast<Compute<T>>(std::abs(problem.first_query + i - j));
        return static_cast<T>(static_cast<Compute<T>>(problem.alibi[head]) * distance);
      });
      scores = scores - distances;
    }
    if (options.bias.defined()) scores = scores + grouped_term(options.bias);
    auto hidden = each_score<bool>([&](int64_t n, int64_t head, int64_t i, int64_t j) {
      return !problem.sees_all(i, i + 1, j, j + 1) || (problem.mask && !*problem.mask.at(n, head, i, j)) ||
             (problem.bias && static_cast<double>(*problem.bias.at(n, head, i, j)) < -1e300);
    });
    // Finite, so that a query that sees nothing gets weights, which are then made 0.
    return where(hidden, 0.0, softmax(where(hidden, -1e30, scores)));
  }

  /// 0 or 1 / (1 - p), as the kernels draw them: (n, kv_heads, group, queries, keys).
  Tensor<T> dropped() const {
    auto bound = static_cast<uint32_t>(problem.dropout * 0x1p24);
    auto blocks = (problem.queries + query_block - 1) / query_block;
    return each_score<T>([&](int64_t n, int64_t head, int64_t i, int64_t j) {
      auto block = (n * problem.heads + head) * blocks + i / query_block;
      auto word = problem.stream.word((block * problem.keys + j) * query_block + i % query_block);
      return static_cast<T>((word >> 8) < bound ? 0 : 1 / (1 - problem.dropout));
    });
  }

  Tensor<T> forward(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    auto p = weights(grouped(query), grouped(key));
    return joined(matmul(problem.dropout > 0 ? p * dropped() : p, grouped(value)));
  }

  std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> gradient(const Tensor<T>& query, const Tensor<T>& key,
                                                       const Tensor<T>& value, const Tensor<T>& dy) const {
    auto q = grouped(query), k = grouped(key), v = grouped(value), d = grouped(dy);
    auto p = weights(q, k);
    auto factors = problem.dropout > 0 ? dropped() : Tensor<T>();
    auto drop = [&](const Tensor<T>& x) { return factors.defined() ? x * factors : x; };
    auto dp = drop(matmul(d, transpose(v)));
    auto ds = p * (dp - sum(dp * p, -1, true)) * problem.scale;
    auto dk = sum_to(matmul(transpose(ds), q), k.shape()), dv = sum_to(matmul(transpose(drop(p)), d), v.shape());
    return {joined(matmul(ds, k)), joined(dk), joined(dv)};
  }
};

/// f(AttentionByOperators), whose problem points to memory of the host.
template <Floating T, class F>
auto attend_by_operators(const AttentionProblem<T>& problem, const AttentionOptions<T>& options, Device device, F&& f) {
  if (device.is_cpu()) return f(AttentionByOperators<T>{problem, options, device});
  auto near = [](const auto& x) { return x.defined() ? x.to(Device::cpu()).detach() : x; };
  auto mask = near(options.mask);
  auto bias = near(options.bias), alibi = near(options.alibi);
  auto of_host = problem;
  Shape scores{problem.n, problem.heads, problem.queries, problem.keys};
  of_host.mask = score_term("mask", mask, scores);
  of_host.bias = score_term("bias", bias, scores);
  of_host.alibi = data_or_null(alibi);
  return f(AttentionByOperators<T>{of_host, options, device});
}

}  // namespace gradus::detail::inline GRADUS_BUILD
