// Passes over one row of logits in registers, shared by softmax, log_softmax and cross_entropy.
#pragma once

#include <cmath>

#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

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
