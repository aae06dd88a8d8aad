// Passes over one row of logits in registers, shared by softmax, log_softmax and cross_entropy.
#pragma once

#include <cmath>
#include <utility>

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

/// The largest element of a row, and the sum of exp(x - largest), whose terms go to `kept` unless that is null.
template <class T>
GRADUS_INLINE std::pair<Compute<T>, Compute<T>> exponential_row(const T* row, int64_t n, Compute<T>* kept) {
  using C = Compute<T>;
  Simd<C> largest(-std::numeric_limits<C>::infinity());
  for_each_register(row, n, -std::numeric_limits<C>::infinity(),
                    [&](int64_t, const Simd<C>& x, int64_t) { largest = maximum(largest, x); });
  auto top = fold_lanes(largest, [](C a, C b) { return a > b || a != a ? a : b; });
  Simd<C> total(C(0));
  for_each_register(row, n, -std::numeric_limits<C>::infinity(), [&](int64_t i, const Simd<C>& x, int64_t count) {
    auto term = exp(x - Simd<C>(top));
    total = total + term;
    if (kept != nullptr) store_some(term, kept + i, count);
  });
  return {top, fold_lanes(total, [](C a, C b) { return a + b; })};
}

template <class T>
RowTotal<Compute<T>> row_total(const T* row, int64_t n) {
  auto [top, total] = exponential_row(row, n, static_cast<Compute<T>*>(nullptr));
  return {top, std::log(total)};
}

/// softmax of each row of x (rows, n), dense, or its logarithm.
template <Floating T>
void softmax_rows(const T* x, int64_t rows, int64_t n, bool logarithm, T* y) {
  using C = Compute<T>;
  for_rows(rows, n, [&](int64_t row) {
    auto* from = x + row * n;
    auto* to = y + row * n;
    if constexpr (std::is_same_v<T, C>) {
      if (!logarithm) {  // exponentials are made once, and divided by their sum where they lie
        auto [top, total] = exponential_row(from, n, to);
        for_each_register(to, n, C(0), [&, factor = Simd<C>(1 / total)](int64_t i, const Simd<C>& v, int64_t count) {
          store_some(v * factor, to + i, count);
        });
        return;
      }
    }
    auto total = row_total(from, n);
    for_each_register(from, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      auto value = total.log_softmax(v);
      store_some(logarithm ? value : exp(value), to + i, count);
    });
  });
}

/// The gradient by x of each row of y = softmax(x) or its logarithm, (rows, n) dense.
template <Floating T>
void softmax_gradient_rows(const T* y, const T* dy, int64_t rows, int64_t n, bool logarithm, T* dx) {
  using C = Compute<T>;
  for_rows(rows, n, [&](int64_t row) {
    auto *p = y + row * n, *d = dy + row * n;
    Simd<C> sums(C(0));
    for_each_register(d, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      sums = logarithm ? sums + v : fma(v, load_some<C>(p + i, count), sums);
    });
    Simd<C> sum(fold_lanes(sums, [](C a, C b) { return a + b; }));
    for_each_register(d, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      auto value = load_some<C>(p + i, count);
      store_some(logarithm ? v - exp(value) * sum : value * (v - sum), dx + row * n + i, count);
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
