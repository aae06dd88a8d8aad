// What recurrent layers over sequences have in common on the CPU.
#pragma once

#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/recurrent/step_product.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Sizes, and how the sequence is gone through.
struct SequenceShape {
  int64_t steps, batch, in, hidden, out;  ///< out: hidden, or the size of the projection
  bool reverse = false;
  const int64_t* lengths = nullptr;  ///< of each sequence; null: all are `steps` long

  /// The place in memory of what is computed as number k.
  int64_t at(int64_t k) const { return reverse ? steps - 1 - k : k; }
  bool runs(int64_t t, int64_t row) const { return lengths == nullptr || t < lengths[row]; }
};

template <class T>
MatrixView<T> rows_view(const T* data, int64_t rows, int64_t columns) {
  return {data, rows, columns, columns, 1};
}
template <class T>
MatrixView<T> transposed_view(const T* data, int64_t rows, int64_t columns) {  // of a (rows, columns) in memory
  return {data, columns, rows, 1, columns};
}

/// Numbers in the type that is computed in, or zeros where there is nothing to convert.
template <class T>
void convert_or_clear(const T* from, Compute<T>* to, int64_t count) {
  if (from != nullptr) convert_run(from, count, to);
  else std::fill_n(to, count, Compute<T>(0));
}

/// Some of a batch's sequences.
struct SequenceGroup {
  int64_t first, count;
};

/// A sequence that has ended keeps what it had: rows of `now` (batch, width) that do not run in step t, from `before`.
template <class T>
void keep_ended(const SequenceShape& s, int64_t t, const SequenceGroup& group, const T* before, T* now, int64_t width) {
  if (s.lengths == nullptr) return;
  for (auto row = group.first; row < group.first + group.count; ++row) {
    if (!s.runs(t, row)) std::copy_n(before + row * width, width, now + row * width);
  }
}

/// Zeros among the states (steps, batch, out) of sequences that have ended.
template <class T>
void clear_ended(const SequenceShape& s, T* states) {
  for (int64_t t = 0; s.lengths != nullptr && t < s.steps; ++t) {
    for (int64_t row = 0; row < s.batch; ++row) {
      if (!s.runs(t, row)) std::fill_n(states + (t * s.batch + row) * s.out, s.out, T(0));
    }
  }
}

/// Adds step t of dy (steps, batch, out), which may be null, to the gradient of the group's states that run.
template <class T>
void add_shown_gradient(const SequenceShape& s, int64_t t, const SequenceGroup& group, const T* dy,
                        Compute<T>* d_state) {
  if (dy == nullptr) return;
  for (int64_t i = 0; i < group.count; ++i) {
    if (!s.runs(t, group.first + i)) continue;
    auto* from = dy + (t * s.batch + group.first + i) * s.out;
    for (int64_t j = 0; j < s.out; ++j) d_state[i * s.out + j] += static_cast<Compute<T>>(from[j]);
  }
}

/// The gradient of the states before a step: for those that ran it is in `sums` (count, ld), which is set or, with
/// `add`, added; the others only passed theirs on.
template <class C>
void take_state_gradient(const SequenceShape& s, int64_t t, const SequenceGroup& group, const C* sums, int64_t ld,
                         bool add, C* d_state) {
  for (int64_t i = 0; i < group.count; ++i) {
    if (!s.runs(t, group.first + i)) continue;
    auto* to = d_state + i * s.out;
    for (int64_t j = 0; j < s.out; ++j) to[j] = add ? to[j] + sums[i * ld + j] : sums[i * ld + j];
  }
}

/// Biases in the type that is computed in, added up; each may be null.
template <class T>
void add_biases(const T* a, const T* b, int64_t count, Compute<T>* to) {
  convert_or_clear(a, to, count);
  for (int64_t i = 0; b != nullptr && i < count; ++i) to[i] += static_cast<Compute<T>>(b[i]);
}

/// Rows of sums with `ld` between them -> rows of memory.
template <class C, class T>
void write_rows(const C* sums, int64_t ld, int64_t rows, int64_t width, T* to) {
  for (int64_t i = 0; i < rows; ++i)
    write_row(sums + i * ld, width, C(0), static_cast<const T*>(nullptr), false, to + i * width);
}

/// The gradients of the weights (width, in) and (width, out), null where none is wanted, from those of the gates
/// (steps, batch, width): one product, [x, states before]^T d_gates, which is written transposed. The first step saw
/// h0, the others the state before them.
template <class T>
void sequence_weight_gradients(const SequenceShape& s, const T* d_gates, int64_t width, const T* x, const T* h0,
                               const T* states, T* to_input, T* to_recurrent) {
  using C = Packed<T>;
  constexpr int64_t tile_rows = GemmTile<C>::rows, together = GemmTile<C>::steps;
  auto rows = s.steps * s.batch, in = to_input != nullptr ? s.in : 0, out = to_recurrent != nullptr ? s.out : 0;
  if (in + out == 0 || width == 0) return;
  auto first = s.at(0) * s.batch, back = s.reverse ? s.batch : -s.batch;
  auto pack_states = [&](int64_t j, int64_t columns, int64_t r, int64_t depth, int64_t padded, C* to) {
    if (s.batch % together != 0) {  // rows that lie together may be of two steps
      constexpr int64_t block = 64;
      T dense[block * tile_rows];
      for (auto end = r + depth; r < end; r += block, to += block * tile_rows) {
        auto count = std::min(block, end - r);
        for (int64_t k = 0; k < count; ++k) {
          auto is_first = r + k >= first && r + k < first + s.batch;
          std::copy_n((is_first ? h0 + (r + k - first) * s.out : states + (r + k + back) * s.out) + j, columns,
                      dense + k * tile_rows);
        }
        pack_panel(dense, int64_t{1}, tile_rows, columns, count, to, tile_rows, padded);
      }
      return;
    }
    for (auto end = r + depth; r < end;) {
      auto is_first = r >= first && r < first + s.batch;
      auto until = std::min(end, is_first ? first + s.batch : r < first ? first : end);
      auto* from = is_first ? h0 + (r - first) * s.out : states + (r + back) * s.out;
      pack_panel(from + j, int64_t{1}, s.out, columns, until - r, to, tile_rows, padded);
      to += (until - r) * tile_rows;
      r = until;
    }
  };
  packed_product<C>(
      GemmPlan<C>(in + out, width, rows, num_threads()),
      [&](int64_t j, int64_t columns, int64_t r, int64_t depth, C* to) {
        auto there = std::min(depth, rows - r);
        for (auto end = j + columns; j < end; j += tile_rows, to += depth * tile_rows) {
          auto filled = std::min(tile_rows, end - j), of_x = std::clamp<int64_t>(in - j, 0, filled);
          auto padded = of_x < filled ? of_x : tile_rows;
          if (of_x > 0) pack_panel(x + r * s.in + j, int64_t{1}, s.in, of_x, there, to, tile_rows, padded);
          if (of_x < filled)
            pack_states(j + of_x - in, filled - of_x, r, there, tile_rows - of_x, to + together * of_x);
        }
      },
      [&](int64_t j, int64_t columns, int64_t r, int64_t depth, C* to) {
        int64_t padded = column_registers<C>(columns) * GemmTile<C>::lanes;
        pack_panel(d_gates + r * width + j, int64_t{1}, width, columns, std::min(depth, rows - r), to, padded, padded);
      },
      [&](int64_t i0, int64_t count, int64_t j0, int64_t columns, const Compute<T>* tile, int64_t ld) {
        auto of_x = std::clamp<int64_t>(in - i0, 0, count);
        for (int64_t j = 0; j < columns; ++j) {
          for (int64_t i = 0; i < of_x; ++i) to_input[(j0 + j) * s.in + i0 + i] = static_cast<T>(tile[i * ld + j]);
          for (auto i = of_x; i < count; ++i)
            to_recurrent[(j0 + j) * s.out + i0 + i - in] = static_cast<T>(tile[i * ld + j]);
        }
      });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
