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

/// to[i] = from[i], converted.
template <class From, class To>
void convert(const From* from, int64_t count, To* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
}
/// The same in the type that is computed in, or zeros where there is nothing to convert.
template <class T>
void convert_or_clear(const T* from, Compute<T>* to, int64_t count) {
  if (from != nullptr) convert(from, count, to);
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

/// The gradient of the recurrent weight (width, out) from those of the gates (steps, batch, width): the first step saw
/// h0, the others the state before them.
template <class T>
void recurrent_weight_gradient(const SequenceShape& s, const T* d_gates, int64_t width, const T* h0, const T* states,
                               T* to) {
  auto rest = (s.steps - 1) * s.batch;
  auto* later = d_gates + (s.reverse ? 0 : s.batch * width);
  auto* earlier = states + (s.reverse ? s.batch * s.out : 0);
  gemm(transposed_view(d_gates + s.at(0) * s.batch * width, s.batch, width), rows_view(h0, s.batch, s.out), to, s.out);
  gemm(transposed_view(later, rest, width), rows_view(earlier, rest, s.out), to, s.out, {.accumulate = true});
}

}  // namespace gradus::detail::inline GRADUS_BUILD
