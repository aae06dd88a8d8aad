// Passes over one row of logits in registers, shared by softmax, log_softmax and cross_entropy.
#pragma once

#include <cmath>

#include "gradus/device/cpu/simd.hpp"
#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Calls body(i, lanes, count) over a row in registers; lanes beyond the end hold `fill`.
template <class T, class Body>
GRADUS_INLINE void for_each_register(const T* row, int64_t n, Compute<T> fill, Body&& body) {
  using C = Compute<T>;
  int64_t i = 0;
  for (; i + simd_lanes <= n; i += simd_lanes) body(i, Simd<C>::load(row + i), int64_t{simd_lanes});
  if (i == n) return;
  alignas(64) C lanes[simd_lanes];
  for (int64_t lane = 0; lane < simd_lanes; ++lane) lanes[lane] = i + lane < n ? static_cast<C>(row[i + lane]) : fill;
  body(i, Simd<C>::load(lanes), n - i);
}

template <class C, class T>
GRADUS_INLINE void store_some(const Simd<C>& value, T* to, int64_t count) {
  if (count == simd_lanes) return value.store(to);
  alignas(64) T lanes[simd_lanes];
  value.store(lanes);
  std::copy_n(lanes, count, to);
}

/// Halves the lanes until one is left: the same tree everywhere.
template <class C, class Combine>
C fold_lanes(const Simd<C>& value, Combine combine) {
  alignas(64) C lanes[simd_lanes];
  value.store(lanes);
  for (int width = simd_lanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] = combine(lanes[lane], lanes[lane + width]);
  }
  return lanes[0];
}

/// log(sum(exp(row))): -infinity for a row of nothing else, NaN if there is one.
template <class T>
Compute<T> row_logsumexp(const T* row, int64_t n) {
  using C = Compute<T>;
  Simd<C> top(-std::numeric_limits<C>::infinity());
  for_each_register(row, n, -std::numeric_limits<C>::infinity(),
                    [&](int64_t, const Simd<C>& x, int64_t) { top = maximum(top, x); });
  auto m = fold_lanes(top, [](C a, C b) { return a > b || a != a ? a : b; });
  if (std::isinf(m)) return m;
  Simd<C> total(C(0));
  for_each_register(row, n, -std::numeric_limits<C>::infinity(),
                    [&](int64_t, const Simd<C>& x, int64_t) { total = total + exp(x - Simd<C>(m)); });
  return m + std::log(fold_lanes(total, [](C a, C b) { return a + b; }));
}

/// Runs body(row number) over all rows, several rows a chunk.
template <class Body>
void for_rows(int64_t rows, int64_t width, Body&& body) {
  parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(width, 1)), [&](int64_t first, int64_t last) {
    for (auto row = first; row < last; ++row) body(row);
  });
}

/// Applies `f` to x with `axis` moved to the end, and moves it back.
template <Floating T, class F>
Tensor<T> along_last_axis(const char* op, const Tensor<T>& x, int64_t axis, F&& f) {
  require<ShapeError>(x.rank() > 0, op, ": a scalar has no axis");
  auto a = normalize_axis(op, axis, x.rank());
  if (a == x.rank() - 1) return f(contiguous(x));
  return transpose(f(contiguous(transpose(x, a, -1))), a, -1);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
