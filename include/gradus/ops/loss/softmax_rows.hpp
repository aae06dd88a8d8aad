// Passes over one row of logits in registers, shared by softmax, log_softmax and cross_entropy.
#pragma once

#include <cmath>

#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// log(sum(exp(row))) in two parts, so that large logits lose no digits: the largest one, and the logarithm of
/// sum(exp(x - top)), from 0 to log(n). A row with NaN or infinity, or of nothing but -infinity, gives NaN.
template <class C>
struct RowTotal {
  C top, log_sum;

  GRADUS_INLINE Simd<C> log_softmax(const Simd<C>& x) const { return (x - Simd<C>(top)) - Simd<C>(log_sum); }
  GRADUS_INLINE C log_softmax(C x) const { return (x - top) - log_sum; }
};

template <class T>
RowTotal<Compute<T>> row_total(const T* row, int64_t n) {
  using C = Compute<T>;
  Simd<C> largest(-std::numeric_limits<C>::infinity());
  for_each_register(row, n, -std::numeric_limits<C>::infinity(),
                    [&](int64_t, const Simd<C>& x, int64_t) { largest = maximum(largest, x); });
  auto top = fold_lanes(largest, [](C a, C b) { return a > b || a != a ? a : b; });
  Simd<C> total(C(0));
  for_each_register(row, n, -std::numeric_limits<C>::infinity(),
                    [&](int64_t, const Simd<C>& x, int64_t) { total = total + exp(x - Simd<C>(top)); });
  return {top, std::log(fold_lanes(total, [](C a, C b) { return a + b; }))};
}

/// softmax of each row of x (rows, n), dense, or its logarithm.
template <Floating T>
void softmax_rows(const T* x, int64_t rows, int64_t n, bool logarithm, T* y) {
  using C = Compute<T>;
  for_rows(rows, n, [&](int64_t row) {
    auto* from = x + row * n;
    auto total = row_total(from, n);
    for_each_register(from, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      auto value = total.log_softmax(v);
      store_some(logarithm ? value : exp(value), y + row * n + i, count);
    });
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
