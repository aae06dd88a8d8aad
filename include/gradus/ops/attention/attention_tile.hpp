// The scores of 48 queries for a block of keys, on their way to weights: a row a key, a lane a query, so that maxima
// and sums over keys need no steps across lanes, and weights stand ready as the right side of the next product.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/gemm_kernel.hpp"
#include "gradus/device/cpu/philox_lanes.hpp"
#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/attention/attention_problem.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int64_t query_block = 48;  ///< a multiple of the columns of a tile on every machine
inline constexpr int64_t key_block = 144;   ///< likewise; 144 x 48 floats fit into the L1 cache
inline constexpr int query_registers = static_cast<int>(query_block) / simd_lanes;

/// Where a tile stands: queries [q0, q1) of head `head` of sample n, keys [k0, k1).
struct TilePlace {
  int64_t n, head, q0, q1, k0, k1;
};

/// Rows (i0, d) of one head: element (i, j) is data[i * row + j * column].
template <class T>
struct HeadView {
  T* data;
  int64_t row, column;
};

/// Head `head` of sample n of x (n, heads, rows, columns).
template <class T>
HeadView<const T> head_view(const Tensor<T>& x, int64_t n, int64_t head) {
  const auto& strides = x.strides();
  return {x.data() + n * strides[0] + head * strides[1], strides[2], strides[3]};
}

/// c (rows, columns) (+)= a b: a packed in panels of `panel_depth`, of which `depth` count; b is packed in one panel of
/// all columns, c lies row by row.
template <class C>
void panel_product(int64_t rows, int64_t columns, int64_t depth, const C* a, int64_t panel_depth, const C* b,
                   int64_t b_stride, Compute<C>* c, int64_t c_stride, bool accumulate) {
  using Tile = GemmTile<C>;
  for (int64_t j = 0; j < columns; j += Tile::columns) {
    auto registers = column_registers<C>(std::min<int64_t>(Tile::columns, columns - j));
    for (int64_t i = 0; i < rows; i += Tile::rows)
      gemm_tile<C>(registers, depth, a + i * packed_depth<C>(panel_depth), b + GemmTile<C>::steps * j, b_stride,
                   c + i * c_stride + j, c_stride, accumulate);
  }
}

/// Rounds up to whole panels of rows.
template <class C>
constexpr int64_t whole_panels(int64_t rows) {
  return (rows + GemmTile<C>::rows - 1) / GemmTile<C>::rows * GemmTile<C>::rows;
}

/// Packs `rows` rows of `depth` numbers as the left side of panel_product; element (i, k) is from[i * row + k *
/// column].
template <class C, class T>
void pack_left(const T* from, int64_t row, int64_t column, int64_t rows, int64_t depth, C* to) {
  constexpr int64_t panel = GemmTile<C>::rows;
  for (int64_t i = 0; i < rows; i += panel)
    pack_panel(from + i * row, row, column, std::min(panel, rows - i), depth, to + i * packed_depth<C>(depth), panel,
               panel);
}

/// to[j * to_row + i] = from[i * ld + j] for i < rows, j < columns.
template <class C, class T>
void write_transposed(const C* from, int64_t ld, int64_t rows, int64_t columns, T* to, int64_t to_row) {
  if constexpr (std::is_same_v<C, T>) {
    pack_panel(from, ld, 1, rows, columns, to, to_row, rows);
  } else {
    alignas(64) C block[query_block * simd_lanes];
    for (int64_t j = 0; j < columns; j += query_block) {
      auto width = std::min(query_block, columns - j);
      for (int64_t i = 0; i < rows; i += simd_lanes) {
        auto count = std::min<int64_t>(simd_lanes, rows - i);
        pack_panel(from + i * ld + j, ld, int64_t{1}, count, width, block, int64_t{simd_lanes}, int64_t{simd_lanes});
        for (int64_t k = 0; k < width; ++k)
          store_some(Simd<C>::load(block + k * simd_lanes), to + (j + k) * to_row + i, count);
      }
    }
  }
}

/// A tile of weights (keys, 48) as products read it: rounded where they multiply bf16, else as it is.
template <class T>
class PackedTile {
  using C = Compute<T>;
  using P = Packed<T>;
  static constexpr bool rounds = !std::is_same_v<P, C>;

 public:
  PackedTile() : rounded_(rounds ? key_block * query_block : 0), right_(rounds ? key_block * query_block : 0) {}

  void take(const C* tile, int64_t keys) {
    if constexpr (rounds) {
      for (int64_t i = 0; i < keys * query_block; i += simd_lanes) Simd<C>::load(tile + i).store(rounded_.data() + i);
      tile_ = rounded_.data();
    } else {
      tile_ = tile;
    }
  }
  /// The right side of a product over keys.
  const P* right(int64_t keys) const {
    if constexpr (!rounds) return tile_;
    else {
      pack_panel(tile_, 1, query_block, query_block, keys, right_.data(), query_block, query_block);
      return right_.data();
    }
  }
  /// The right side of a product over queries: (queries, key_block). What whole registers hold beyond the keys is 0.
  void turn(int64_t keys, int64_t queries, P* to) const {
    pack_panel(tile_, query_block, int64_t{1}, keys, queries, to, key_block,
               int64_t{column_registers<P>(keys)} * GemmTile<P>::lanes);
  }

 private:
  Scratch<P> rounded_, right_;
  const P* tile_ = nullptr;
};

/// A lane a query of one key's values in a term of the scores.
template <class C, class T>
GRADUS_INLINE void gather_queries(const ScoreTerm<T>& term, const TilePlace& at, int64_t key, C missing, C* lanes) {
  auto* from = term.at(at.n, at.head, at.q0, key);
  auto stride = term.strides[2];
  auto count = at.q1 - at.q0;
  for (int64_t i = 0; i < count; ++i) lanes[i] = static_cast<C>(from[i * stride]);
  for (int64_t i = count; i < query_block; ++i) lanes[i] = missing;
}

/// Turns products into scores: scale, distance, bias, and -infinity where a query does not see a key.
template <class T, class C = Compute<T>>
void finish_scores(const AttentionProblem<T>& problem, const TilePlace& at, C* tile) {
  constexpr auto hidden = -std::numeric_limits<C>::infinity();
  auto partly = !problem.sees_all(at.q0, at.q1, at.k0, at.k1);
  auto slope = problem.alibi != nullptr ? static_cast<C>(problem.alibi[at.head]) : C(0);
  if (!partly && slope == C(0) && !problem.bias && !problem.mask) {
    for (int64_t i = 0; i < (at.k1 - at.k0) * query_block; i += simd_lanes)
      (Simd<C>::load(tile + i) * problem.scale).store(tile + i);
    return;
  }
  alignas(64) C positions[query_block], terms[query_block];
  for (int64_t i = 0; i < query_block; ++i) positions[i] = static_cast<C>(problem.first_query + at.q0 + i);
  for (auto key = at.k0; key < at.k1; ++key) {
    auto* row = tile + (key - at.k0) * query_block;
    auto each = [&](auto change) GRADUS_INLINE_LAMBDA {
      GRADUS_UNROLL
      for (int r = 0; r < query_registers; ++r) {
        auto* x = row + r * simd_lanes;
        change(Simd<C>::load(x), r * simd_lanes).store(x);
      }
    };
    each([&](const Simd<C>& x, int i) GRADUS_INLINE_LAMBDA {
      auto ahead = Simd<C>(static_cast<C>(key)) - Simd<C>::load(positions + i);  // how far the key stands behind
      auto y = x * problem.scale - abs(ahead) * slope;
      if (!partly) return y;
      auto unseen = Mask<C>(false);
      if (problem.causal) unseen = ahead > C(0);
      if (problem.window > 0) unseen = unseen || abs(ahead) >= static_cast<C>(problem.window);
      return where(unseen, hidden, y);
    });
    if (problem.bias) {
      gather_queries(problem.bias, at, key, C(0), terms);
      each([&](const Simd<C>& x, int i) GRADUS_INLINE_LAMBDA { return x + Simd<C>::load(terms + i); });
    }
    if (problem.mask) {
      gather_queries(problem.mask, at, key, C(1), terms);
      each([&](const Simd<C>& x, int i)
               GRADUS_INLINE_LAMBDA { return where(Simd<C>::load(terms + i) == C(0), hidden, x); });
    }
  }
}

/// tile *= 0 or 1 / (1 - p), as the words of the stream say; also in the second tile, if there is one.
template <class T, class C = Compute<T>>
void drop_weights(const AttentionProblem<T>& problem, const TilePlace& at, C* tile, C* second = nullptr) {
  auto bound = static_cast<uint32_t>(problem.dropout * 0x1p24);
  auto keep = static_cast<C>(1 / (1 - problem.dropout));
  auto blocks = (problem.queries + query_block - 1) / query_block;
  auto first = (((at.n * problem.heads + at.head) * blocks + at.q0 / query_block) * problem.keys + at.k0) * query_block;
  auto count = (at.k1 - at.k0) * query_block;
  uint32_t words[philox_words];
  for (int64_t i = 0; i < count; i += philox_words) {
    philox_fill(problem.stream, first + i, words);
    for (int64_t k = 0; k < std::min(philox_words, count - i); ++k) {
      auto factor = (words[k] >> 8) < bound ? C(0) : keep;
      tile[i + k] *= factor;
      if (second != nullptr) second[i + k] *= factor;
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
