// Attention by cuDNN: its graphs forward and back, in the form in which it knows them as one kernel (Dao et al., 2022).
#pragma once

#include "gradus/device/cuda/cudnn.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// What one attention is about; strides are those of (n, heads, tokens, numbers).
struct AttentionGraphShape {
  CudnnType type = CudnnType::bf16;
  int causal;  ///< a query sees no key behind its own place
  int64_t n, heads, kv_heads, queries, keys, depth, width;
  CudnnSizes query, key, value, y;
  CudnnSizes dy{}, dq{}, dk{}, dv{};  ///< backward only
};

/// Ids of the graphs' tensors. The logarithms of the sums of each row are kept for backward.
struct AttentionIds {
  static constexpr int64_t query = 1, key = 2, value = 3, y = 4, log_sums = 5, scale = 6, lowest = 7, dy = 8, dq = 9,
                           dk = 10, dv = 11, means = 12, dq_sums = 13, one = 14;
};

/// Both graphs of an attention.
class AttentionGraph {
 public:
  AttentionGraph(const Cudnn& api, const AttentionGraphShape& shape)
      : graph_(api, "scaled_dot_product_attention"), s_(shape) {}

  /// query, key, value -> y, log_sums
  CudnnGraph& forward() {
    auto [query, key] = query_and_key();
    auto value = graph_.tensor(AttentionIds::value, s_.type, {s_.n, s_.kv_heads, s_.keys, s_.width}, s_.value);
    auto y = graph_.tensor(AttentionIds::y, s_.type, {s_.n, s_.heads, s_.queries, s_.width}, s_.y);
    auto scores = masked(scaled(graph_.matmul(query, key), graph_.number(AttentionIds::scale)));
    auto top = graph_.reduce(CudnnReduction::max, scores, row());
    auto powers = graph_.pointwise(CudnnPointwise::exp, graph_.pointwise(CudnnPointwise::sub, scores, top));
    auto sums = graph_.reduce(CudnnReduction::add, powers, row());
    graph_.pointwise_to(log_sums(), CudnnPointwise::add, top, graph_.pointwise(CudnnPointwise::log, sums));
    auto weights = graph_.inner(powers.sizes, s_.type);  // in the type of the product that reads it
    graph_.pointwise_to(weights, CudnnPointwise::div, powers, sums);
    graph_.matmul_to(y, weights, value);
    return graph_;
  }

  /// query, key, value, y, log_sums, dy -> dq, dk, dv; means and dq_sums are work space.
  CudnnGraph& backward() {
    using Ids = AttentionIds;
    auto [query, key] = query_and_key();
    auto value = graph_.tensor(Ids::value, s_.type, {s_.n, s_.kv_heads, s_.width, s_.keys}, turned(s_.value));
    CudnnSizes results{s_.n, s_.heads, s_.queries, s_.width};
    auto y = graph_.tensor(Ids::y, s_.type, results, s_.y), dy = graph_.tensor(Ids::dy, s_.type, results, s_.dy);
    auto scale = graph_.number(Ids::scale);
    auto mean = graph_.reduce(CudnnReduction::add, graph_.pointwise(CudnnPointwise::mul, dy, y), row());
    auto means = graph_.tensor(Ids::means, CudnnType::f32, row(), dense_strides(row()));
    graph_.pointwise_to(means, CudnnPointwise::mul, mean, graph_.number(Ids::one));
    auto scores = scaled(graph_.matmul(query, key), scale);
    auto powers =
        graph_.pointwise(CudnnPointwise::exp, masked(graph_.pointwise(CudnnPointwise::sub, scores, log_sums())));
    CudnnSizes turned_scores{s_.heads * s_.queries * s_.keys, s_.queries * s_.keys, 1, s_.keys};
    CudnnSizes values{s_.n, s_.kv_heads, s_.keys, s_.width}, keys{s_.n, s_.kv_heads, s_.keys, s_.depth};
    product_by_heads(graph_.tensor(Ids::dv, s_.type, values, s_.dv), graph_.transpose(powers, turned_scores, s_.type),
                     dy);
    auto slopes = graph_.pointwise(CudnnPointwise::sub, graph_.matmul(dy, value), means);
    slopes = scaled(graph_.pointwise(CudnnPointwise::mul, slopes, powers), scale);
    product_by_heads(graph_.tensor(Ids::dk, s_.type, keys, s_.dk), graph_.transpose(slopes, turned_scores, s_.type),
                     query);
    CudnnSizes queries{s_.n, s_.heads, s_.queries, s_.depth};
    auto sums = graph_.tensor(Ids::dq_sums, CudnnType::f32, queries, dense_strides(queries));
    graph_.matmul_to(sums, slopes, graph_.transpose(key, s_.key, s_.type));
    graph_.pointwise_to(graph_.tensor(Ids::dq, s_.type, queries, s_.dq), CudnnPointwise::identity, sums);
    return graph_;
  }

 private:
  CudnnSizes row() const { return {s_.n, s_.heads, s_.queries, 1}; }
  static CudnnSizes turned(const CudnnSizes& x) { return {x[0], x[1], x[3], x[2]}; }
  /// (n, heads, queries, depth) and (n, kv_heads, depth, keys)
  std::pair<CudnnTensor, CudnnTensor> query_and_key() {
    return {graph_.tensor(AttentionIds::query, s_.type, {s_.n, s_.heads, s_.queries, s_.depth}, s_.query),
            graph_.tensor(AttentionIds::key, s_.type, {s_.n, s_.kv_heads, s_.depth, s_.keys}, turned(s_.key))};
  }
  CudnnTensor log_sums() { return graph_.tensor(AttentionIds::log_sums, CudnnType::f32, row(), dense_strides(row())); }
  CudnnTensor scaled(const CudnnTensor& x, const CudnnTensor& scale) {
    return graph_.pointwise(CudnnPointwise::mul, x, scale);
  }
  CudnnTensor masked(const CudnnTensor& scores) {
    if (s_.causal == 0) return scores;
    auto sees = graph_.pointwise(CudnnPointwise::greater_equal, graph_.index(scores, 2), graph_.index(scores, 3),
                                 CudnnType::boolean);
    return graph_.select(sees, scores, graph_.number(AttentionIds::lowest));
  }
  /// to = a b, summed over the heads that share keys and values.
  void product_by_heads(const CudnnTensor& to, const CudnnTensor& a, const CudnnTensor& b) {
    if (s_.heads == s_.kv_heads) return graph_.matmul_to(to, a, b);
    graph_.reduce_to(to, CudnnReduction::add, graph_.matmul(a, b, s_.type));
  }

  CudnnGraph graph_;
  AttentionGraphShape s_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE
