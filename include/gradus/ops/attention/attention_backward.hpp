// Attention on the CPU, backward: the weights are computed again, block by block, from the saved logarithms of their
// sums (Dao et al., 2022).
#pragma once

#include "gradus/ops/attention/attention_forward.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Head `head` of sample n of a tensor that is being made.
template <class T>
HeadView<T> result_view(Tensor<T>& x, int64_t n, int64_t head) {
  const auto& strides = x.strides();
  return {reinterpret_cast<T*>(x.impl()->data()) + n * strides[0] + head * strides[1], strides[2], strides[3]};
}

/// Scores become weights, exp(score - log_sum), and the gradients of weights those of scores before scaling,
/// weight (gradient - mean) scale. A row a key, a lane a query.
template <class C>
void score_gradients(C* scores, C* gradients, int64_t keys, const C* means, double scale) {
  for (int64_t i = 0; i < keys * query_block; i += simd_lanes) {
    auto mean = Simd<C>::load(means + i % query_block);
    auto weight = Simd<C>::load(scores + i);
    (weight * (Simd<C>::load(gradients + i) - mean) * scale).store(gradients + i);
  }
}

template <class C>
void weights_from_scores(C* scores, int64_t keys, const C* log_sums) {
  for (int64_t i = 0; i < keys * query_block; i += simd_lanes)
    exp(Simd<C>::load(scores + i) - Simd<C>::load(log_sums + i % query_block)).store(scores + i);
}

/// All that the backward kernel reads and writes. Gradients of queries are gathered transposed, (depth, 48) a block,
/// for each stripe of keys on its own; those of keys and values are written by the one stripe that owns them.
template <class T, class C = Compute<T>>
struct AttentionGradient {
  using P = Packed<T>;
  const AttentionProblem<T>& problem;
  const Tensor<T>&query, &key, &value, &dy;
  const C *log_sums, *means;  ///< (n, heads, queries)
  Tensor<T>&dk, &dv;
  C* dq;                           ///< (stripes, n, heads, blocks, depth in whole panels, 48)
  int64_t stripes, stripe_blocks;  ///< of keys

  int64_t query_blocks() const { return (problem.queries + query_block - 1) / query_block; }
  int64_t dq_block() const { return whole_panels<P>(problem.depth) * query_block; }

  /// Head pair / stripes of keys and values, stripe pair % stripes.
  void run(int64_t chunk) const {
    auto pair = chunk / stripes, stripe = chunk % stripes;
    auto n = pair / problem.kv_heads, of = pair % problem.kv_heads;
    auto depth = whole_panels<P>(problem.depth), width = whole_panels<P>(problem.width);
    Scratch<P> k_left(key_block * depth), v_left(key_block * width), k_rows(depth * key_block);
    Scratch<P> q_right(depth * query_block), dy_right(width * query_block), q_left(depth * query_block),
        dy_left(width * query_block), turned(query_block * key_block);
    Scratch<C> weights(key_block * query_block), slopes(key_block * query_block);
    PackedTile<T> packed;
    Scratch<C> dk_sums(depth * key_block), dv_sums(width * key_block);
    auto k = head_view(key, n, of), v = head_view(value, n, of);
    auto group = problem.group();
    for (int64_t g = 0; g < group; ++g)
      std::fill_n(dq_of(stripe, n, of * group + g, 0), query_blocks() * dq_block(), C(0));
    auto end = std::min(problem.keys, (stripe + 1) * stripe_blocks * key_block);
    for (auto k0 = stripe * stripe_blocks * key_block; k0 < end; k0 += key_block) {
      auto count = std::min(key_block, end - k0);
      pack_left(k.data + k0 * k.row, k.row, k.column, count, problem.depth, k_left.data());
      pack_left(v.data + k0 * v.row, v.row, v.column, count, problem.width, v_left.data());
      pack_left(k.data + k0 * k.row, k.column, k.row, problem.depth, count, k_rows.data());
      std::fill_n(dk_sums.data(), depth * key_block, C(0));
      std::fill_n(dv_sums.data(), width * key_block, C(0));
      for (auto head = of * group; head < (of + 1) * group; ++head) {
        auto q = head_view(query, n, head), d = head_view(dy, n, head);
        for (int64_t block = 0; block < query_blocks(); ++block) {
          auto q0 = block * query_block, q1 = std::min(problem.queries, q0 + query_block);
          auto [low, high] = problem.visible(q0, q1);
          auto seen = std::min(count, high - k0);
          if (seen <= 0 || low >= k0 + count) continue;
          auto queries = q1 - q0;
          pack_panel(q.data + q0 * q.row, q.row, q.column, queries, problem.depth, q_right.data(), query_block,
                     query_block);
          pack_panel(d.data + q0 * d.row, d.row, d.column, queries, problem.width, dy_right.data(), query_block,
                     query_block);
          pack_left(q.data + q0 * q.row, q.column, q.row, problem.depth, queries, q_left.data());
          pack_left(d.data + q0 * d.row, d.column, d.row, problem.width, queries, dy_left.data());
          alignas(64) C sums[query_block], mean[query_block];
          auto row = (n * problem.heads + head) * problem.queries + q0;
          std::fill(std::copy_n(log_sums + row, queries, sums), sums + query_block, std::numeric_limits<C>::infinity());
          std::fill(std::copy_n(means + row, queries, mean), mean + query_block, C(0));
          TilePlace at{n, head, q0, q1, k0, k0 + seen};
          panel_product<P>(seen, query_block, problem.depth, k_left.data(), problem.depth, q_right.data(), query_block,
                           weights.data(), query_block, false);
          finish_scores(problem, at, weights.data());
          weights_from_scores(weights.data(), seen, sums);
          panel_product<P>(seen, query_block, problem.width, v_left.data(), problem.width, dy_right.data(), query_block,
                           slopes.data(), query_block, false);
          if (problem.dropout > 0) {  // gradients of dropped weights; dv needs the weights dropped, dk and dq do not
            drop_weights(problem, at, slopes.data());
          }
          score_gradients(weights.data(), slopes.data(), seen, mean, problem.scale);
          if (problem.dropout > 0) drop_weights(problem, at, weights.data());
          packed.take(slopes.data(), seen);
          panel_product<P>(problem.depth, query_block, seen, k_rows.data(), count, packed.right(seen), query_block,
                           dq_of(stripe, n, head, block), query_block, true);
          packed.turn(seen, queries, turned.data());
          panel_product<P>(problem.depth, seen, queries, q_left.data(), queries, turned.data(), key_block,
                           dk_sums.data(), key_block, true);
          packed.take(weights.data(), seen);
          packed.turn(seen, queries, turned.data());
          panel_product<P>(problem.width, seen, queries, dy_left.data(), queries, turned.data(), key_block,
                           dv_sums.data(), key_block, true);
        }
      }
      auto to_k = result_view(dk, n, of), to_v = result_view(dv, n, of);
      write_transposed(dk_sums.data(), key_block, problem.depth, count, to_k.data + k0 * to_k.row, to_k.row);
      write_transposed(dv_sums.data(), key_block, problem.width, count, to_v.data + k0 * to_v.row, to_v.row);
    }
  }

  /// Adds the stripes of one block of queries and writes it.
  void write_queries(int64_t n, int64_t head, int64_t block, HeadView<T> to) const {
    auto q0 = block * query_block, q1 = std::min(problem.queries, q0 + query_block);
    auto* sum = dq_of(0, n, head, block);
    for (int64_t stripe = 1; stripe < stripes; ++stripe) {
      auto* part = dq_of(stripe, n, head, block);
      for (int64_t i = 0; i < problem.depth * query_block; ++i) sum[i] += part[i];
    }
    write_transposed(sum, query_block, problem.depth, q1 - q0, to.data + q0 * to.row, to.row);
  }

 private:
  C* dq_of(int64_t stripe, int64_t n, int64_t head, int64_t block) const {
    return dq + (((stripe * problem.n + n) * problem.heads + head) * query_blocks() + block) * dq_block();
  }
};

/// Fills the gradients of query, key and value.
template <Floating T, class C = Compute<T>>
void attention_gradients(const AttentionProblem<T>& problem, const Tensor<T>& query, const Tensor<T>& key,
                         const Tensor<T>& value, const Tensor<T>& y, const C* log_sums, const Tensor<T>& dy,
                         Tensor<T>& dq, Tensor<T>& dk, Tensor<T>& dv) {
  const auto& p = problem;
  auto rows = p.n * p.heads * p.queries;
  Scratch<C> means(rows);  // of the gradients of a query's weights: its dy times y
  for_rows(rows, p.width, [&](int64_t row) {
    auto pair = row / p.queries, i = row % p.queries;
    auto a = head_view(y, pair / p.heads, pair % p.heads), b = head_view(dy, pair / p.heads, pair % p.heads);
    if (a.column == 1 && b.column == 1) {
      Simd<C> products(C(0));
      for_each_register(a.data + i * a.row, p.width, C(0), [&](int64_t j, const Simd<C>& x, int64_t count) {
        products = fma(x, load_some<C>(b.data + i * b.row + j, count), products);
      });
      means[row] = fold_lanes(products, [](C one, C other) { return one + other; });
      return;
    }
    C sum = 0;
    for (int64_t j = 0; j < p.width; ++j)
      sum += static_cast<C>(a.data[i * a.row + j * a.column]) * static_cast<C>(b.data[i * b.row + j * b.column]);
    means[row] = sum;
  });
  // Few heads: stripes of keys share the threads too, and their gradients of the queries are added at the end.
  auto pairs = p.n * p.kv_heads, key_blocks = std::max<int64_t>(1, (p.keys + key_block - 1) / key_block);
  auto wanted = std::clamp<int64_t>(pairs > 0 ? 8 / pairs : 1, 1, key_blocks);
  auto stripe_blocks = (key_blocks + wanted - 1) / wanted, stripes = (key_blocks + stripe_blocks - 1) / stripe_blocks;
  auto blocks = (p.queries + query_block - 1) / query_block;
  Scratch<C> sums(stripes * p.n * p.heads * blocks * whole_panels<Packed<T>>(p.depth) * query_block);
  AttentionGradient<T> gradient{p,  query, key,         value,   dy,           log_sums, means.data(),
                                dk, dv,    sums.data(), stripes, stripe_blocks};
  parallel_chunks(pairs * stripes, [&](int64_t chunk) { gradient.run(chunk); });
  parallel_chunks(p.n * p.heads * blocks, [&](int64_t chunk) {
    auto n = chunk / blocks / p.heads, head = chunk / blocks % p.heads;
    gradient.write_queries(n, head, chunk % blocks, result_view(dq, n, head));
  });
}

/// Gradients of query, key and value.
template <Floating T, class C = Compute<T>>
std::array<Tensor<T>, 3> attention_backward(const AttentionProblem<T>& p, const Tensor<T>& query, const Tensor<T>& key,
                                            const Tensor<T>& value, const Tensor<T>& y, const C* log_sums,
                                            const Tensor<T>& dy) {
  auto dq = empty_by_rows<T>(p.n, p.heads, p.queries, p.depth),
       dk = empty_by_rows<T>(p.n, key.size(1), p.keys, p.depth),
       dv = empty_by_rows<T>(p.n, key.size(1), p.keys, p.width);
  attention_gradients(p, query, key, value, y, log_sums, dy, dq, dk, dv);
  return {dq, dk, dv};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
