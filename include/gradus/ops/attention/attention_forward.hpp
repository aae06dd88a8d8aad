// Attention on the CPU, forward: blocks of keys pass by blocks of queries, which keep a running maximum, sum and result
// (Milakov and Gimelshein, 2018; Dao et al., 2022). No matrix of all scores is ever stored.
#pragma once

#include "gradus/ops/attention/attention_tile.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What 48 queries have gathered of the keys so far; sums is (width, 48).
template <class C>
struct RunningSoftmax {
  C *top, *total, *sums;

  void clear(int64_t width) const {
    std::fill_n(top, query_block, -std::numeric_limits<C>::infinity());
    std::fill_n(total, query_block, C(0));
    std::fill_n(sums, width * query_block, C(0));
  }

  /// Turns scores (keys, 48) into weights relative to the maximum so far, and what was gathered before likewise.
  void take(C* tile, int64_t keys, int64_t width) const {
    Simd<C> largest[query_registers], sum[query_registers], shrink[query_registers];
    GRADUS_UNROLL
    for (int r = 0; r < query_registers; ++r) largest[r] = Simd<C>::load(top + r * simd_lanes);
    for (int64_t key = 0; key < keys; ++key) {
      GRADUS_UNROLL
      for (int r = 0; r < query_registers; ++r)
        largest[r] = maximum(largest[r], Simd<C>::load(tile + key * query_block + r * simd_lanes));
    }
    GRADUS_UNROLL
    for (int r = 0; r < query_registers; ++r) {
      auto before = Simd<C>::load(top + r * simd_lanes);
      largest[r].store(top + r * simd_lanes);
      // A query that has seen nothing yet keeps weights of exp(-infinity - 0) = 0.
      largest[r] = where(largest[r] == -std::numeric_limits<C>::infinity(), C(0), largest[r]);
      shrink[r] = exp(before - largest[r]);
      sum[r] = Simd<C>::load(total + r * simd_lanes) * shrink[r];
    }
    for (int64_t key = 0; key < keys; ++key) {
      GRADUS_UNROLL
      for (int r = 0; r < query_registers; ++r) {
        auto* x = tile + key * query_block + r * simd_lanes;
        auto weight = exp(Simd<C>::load(x) - largest[r]);
        weight.store(x);
        sum[r] = sum[r] + weight;
      }
    }
    GRADUS_UNROLL
    for (int r = 0; r < query_registers; ++r) sum[r].store(total + r * simd_lanes);
    for (int64_t i = 0; i < width; ++i) {
      GRADUS_UNROLL
      for (int r = 0; r < query_registers; ++r) {
        auto* x = sums + i * query_block + r * simd_lanes;
        (Simd<C>::load(x) * shrink[r]).store(x);
      }
    }
  }

  /// Divides by the sums of weights; leaves log(sum(exp(scores))) in `top`: +infinity for a query that saw nothing.
  void finish(int64_t width) const {
    for (int64_t i = 0; i < query_block; ++i) {
      auto sum = total[i];
      top[i] = sum == C(0) ? std::numeric_limits<C>::infinity() : top[i] + std::log(sum);
      total[i] = sum == C(0) ? C(0) : 1 / sum;
    }
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t q = 0; q < query_block; ++q) sums[i * query_block + q] *= total[q];
    }
  }
};

/// Queries of one head from block `first` to block `last`.
template <class T, class C = Compute<T>>
void attention_stripe(const AttentionProblem<T>& problem, int64_t n, int64_t head, int64_t first, int64_t last,
                      HeadView<const T> q, HeadView<const T> k, HeadView<const T> v, HeadView<T> y, C* log_sums) {
  using P = Packed<T>;
  auto width = whole_panels<P>(problem.width), blocks = last - first, depth = packed_depth<P>(problem.depth);
  Scratch<P> query(blocks * depth * query_block), keys(key_block * depth), values(width * key_block);
  Scratch<C> state(blocks * (width + 2) * query_block), tile(key_block * query_block);
  PackedTile<T> weights;
  auto of_block = [&](int64_t block) {
    auto* at = state.data() + (block - first) * (width + 2) * query_block;
    return RunningSoftmax<C>{at, at + query_block, at + 2 * query_block};
  };
  auto end_of = [&](int64_t block) { return std::min(problem.queries, (block + 1) * query_block); };
  auto* packed = query.data() - first * depth * query_block;  // a block each
  for (auto block = first; block < last; ++block) {
    auto q0 = block * query_block;
    of_block(block).clear(width);
    pack_panel(q.data + q0 * q.row, q.row, q.column, end_of(block) - q0, problem.depth, packed + q0 * depth,
               query_block, query_block);
  }
  auto [begin, end] = problem.visible(first * query_block, end_of(last - 1));
  for (auto k0 = begin; k0 < end; k0 += key_block) {
    auto count = std::min(key_block, end - k0);
    pack_left(k.data + k0 * k.row, k.row, k.column, count, problem.depth, keys.data());
    pack_left(v.data + k0 * v.row, v.column, v.row, problem.width, count, values.data());
    for (auto block = first; block < last; ++block) {
      auto q0 = block * query_block;
      auto [low, high] = problem.visible(q0, end_of(block));
      auto seen = std::min(count, high - k0);
      if (seen <= 0 || low >= k0 + count) continue;
      panel_product<P>(seen, query_block, problem.depth, keys.data(), problem.depth, packed + q0 * depth, query_block,
                       tile.data(), query_block, false);
      TilePlace at{n, head, q0, end_of(block), k0, k0 + seen};
      finish_scores(problem, at, tile.data());
      of_block(block).take(tile.data(), seen, width);
      if (problem.dropout > 0) drop_weights(problem, at, tile.data());
      weights.take(tile.data(), seen);
      panel_product<P>(problem.width, query_block, seen, values.data(), count, weights.right(seen), query_block,
                       of_block(block).sums, query_block, true);
    }
  }
  for (auto block = first; block < last; ++block) {
    auto q0 = block * query_block;
    of_block(block).finish(problem.width);
    std::copy_n(of_block(block).top, end_of(block) - q0, log_sums + q0);
    write_transposed(of_block(block).sums, query_block, problem.width, end_of(block) - q0, y.data + q0 * y.row, y.row);
  }
}

/// One query, for which packing would not pay: generation with a cache. `scores` has room for all keys.
template <class T, class C = Compute<T>>
void attend_one(const AttentionProblem<T>& problem, int64_t n, int64_t head, int64_t i, HeadView<const T> q,
                HeadView<const T> k, HeadView<const T> v, T* y, C* log_sum, C* scores) {
  constexpr auto hidden = -std::numeric_limits<C>::infinity();
  auto add = [](C a, C b) { return a + b; };
  auto [begin, end] = problem.visible(i, i + 1);
  auto* query = q.data + i * q.row;
  auto slope = problem.alibi != nullptr ? static_cast<C>(problem.alibi[head]) : C(0);
  for (auto key = begin; key < end; ++key) {
    Simd<C> products(C(0));
    for_each_register(k.data + key * k.row, problem.depth, C(0),
                      [&](int64_t j, const Simd<C>& x, int64_t count)
                          GRADUS_INLINE_LAMBDA { products = fma(x, load_some<C>(query + j, count), products); });
    auto distance = static_cast<C>(std::abs(problem.first_query + i - key));
    auto score = fold_lanes(products, add) * static_cast<C>(problem.scale) - slope * distance;
    if (problem.bias) score += static_cast<C>(*problem.bias.at(n, head, i, key));
    if (problem.mask && !*problem.mask.at(n, head, i, key)) score = hidden;
    scores[key] = score;
  }
  auto top = hidden;
  for (auto key = begin; key < end; ++key) top = scores[key] > top || scores[key] != scores[key] ? scores[key] : top;
  auto least = top == hidden ? C(0) : top;
  Simd<C> total(C(0));
  for_each_register(scores + begin, end - begin, hidden, [&](int64_t j, const Simd<C>& x, int64_t count) {
    auto weights = exp(x - Simd<C>(least));
    store_some(weights, scores + begin + j, count);
    total = total + weights;
  });
  auto sum = fold_lanes(total, add), inverse = sum == C(0) ? C(0) : 1 / sum;
  *log_sum = sum == C(0) ? std::numeric_limits<C>::infinity() : top + std::log(sum);
  for (int64_t j = 0; j < problem.width; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, problem.width - j);
    Simd<C> mix(C(0));
    for (auto key = begin; key < end; ++key) mix = fma(load_some<C>(v.data + key * v.row + j, count), scores[key], mix);
    store_some(mix * inverse, y + j, count);
  }
}

/// y (n, heads, queries, width) and log(sum(exp(scores))) (n, heads, queries).
template <class T, class C = Compute<T>>
void attention_forward(const AttentionProblem<T>& problem, const Tensor<T>& query, const Tensor<T>& key,
                       const Tensor<T>& value, Tensor<T>& y, C* log_sums) {
  auto heads = problem.n * problem.heads;
  auto result = [&](int64_t n, int64_t head) {
    const auto& strides = y.strides();
    return HeadView<T>{reinterpret_cast<T*>(y.impl()->data()) + n * strides[0] + head * strides[1], strides[2],
                       strides[3]};
  };
  auto with_views = [&](int64_t pair, auto&& run) {
    auto n = pair / problem.heads, head = pair % problem.heads, of = head / problem.group();
    run(n, head, head_view(query, n, head), head_view(key, n, of), head_view(value, n, of), result(n, head),
        log_sums + pair * problem.queries);
  };
  auto rows_are_dense = query.strides()[3] == 1 && key.strides()[3] == 1 && value.strides()[3] == 1;
  if (problem.queries < 4 && problem.dropout == 0 && rows_are_dense) {
    return parallel_chunks(heads, [&](int64_t pair) {
      Scratch<C> scores(problem.keys);
      with_views(pair, [&](auto n, auto head, auto q, auto k, auto v, auto to, auto* sums) {
        for (int64_t i = 0; i < problem.queries; ++i)
          attend_one(problem, n, head, i, q, k, v, to.data + i * to.row, sums + i, scores.data());
      });
    });
  }
  constexpr int64_t stripe = 8;  // blocks of queries that share one packing of the keys
  auto blocks = (problem.queries + query_block - 1) / query_block, stripes = (blocks + stripe - 1) / stripe;
  parallel_chunks(heads * stripes, [&](int64_t chunk) {
    with_views(chunk / stripes, [&](auto n, auto head, auto q, auto k, auto v, auto to, auto* sums) {
      auto first = chunk % stripes * stripe;
      attention_stripe(problem, n, head, first, std::min(blocks, first + stripe), q, k, v, to, sums);
    });
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
