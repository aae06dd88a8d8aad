// Passes over one row of logits in registers, shared by softmax, log_softmax and cross_entropy.
#pragma once

#include <cmath>
#include <limits>

#include "gradus/device/cpu/allocator.hpp"
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

/// The largest element of a row, and the sum of exp(x - largest).
template <class C>
struct RowSum {
  C top = -std::numeric_limits<C>::infinity(), sum = 0;

  /// Of this row and one behind it.
  void merge(const RowSum& next) {
    constexpr auto nothing = -std::numeric_limits<C>::infinity();
    if (next.top == nothing || top != top) return;
    if (top == nothing) return static_cast<void>(*this = next);
    if (next.top <= top) {
      sum += next.sum * std::exp(next.top - top);
    } else {
      sum = sum * std::exp(top - next.top) + next.sum;
      top = next.top;
    }
  }
};

/// The largest element of a row. NaN in a row with an infinity in it is largest; beside finite numbers it may be passed
/// over, as their exponentials give NaN with it.
template <class T>
GRADUS_INLINE Compute<T> largest_of_row(const T* row, int64_t n) {
  using C = Compute<T>;
  constexpr auto nothing = -std::numeric_limits<C>::infinity();
  auto largest = [&](auto larger) GRADUS_INLINE_LAMBDA {
    return fold_lanes(fold_row(row, n, nothing, nothing, larger, larger), larger);
  };
  auto top = largest([](const Simd<C>& a, const Simd<C>& b, auto...) GRADUS_INLINE_LAMBDA { return at_least(a, b); });
  if (top - top == 0) [[likely]]
    return top;
  return largest([](const Simd<C>& a, const Simd<C>& b, auto...) GRADUS_INLINE_LAMBDA { return maximum(a, b); });
}

/// A row's sum, whose terms go to `kept` unless that is null. Meanwhile the row that follows it in memory is fetched.
template <class T>
GRADUS_INLINE RowSum<Compute<T>> exponential_row(const T* row, int64_t n, Compute<T>* kept) {
  using C = Compute<T>;
  auto top = largest_of_row(row, n);
  Simd<C> largest(top);
  auto total = fold_row(
      row, n, C(0), -std::numeric_limits<C>::infinity(),
      [&](const Simd<C>& sum, const Simd<C>& x, int64_t i) GRADUS_INLINE_LAMBDA {
        fetch_beyond(row + i, n);
        auto term = exp_of_negative(x - largest);
        if (kept != nullptr) store_some(term, kept + i, std::min<int64_t>(simd_lanes, n - i));
        return sum + term;
      },
      add_lanes);
  return {top, fold_lanes(total, add_lanes)};
}

/// The same of a row that no cache needs to hold.
template <class T>
RowSum<Compute<T>> row_sum(const T* row, int64_t n) {
  constexpr int64_t block = 8192;
  auto none = static_cast<Compute<T>*>(nullptr);
  auto sum = exponential_row(row, std::min(n, block), none);
  for (auto i = block; i < n; i += block) sum.merge(exponential_row(row + i, std::min(block, n - i), none));
  return sum;
}

template <class T>
RowTotal<Compute<T>> row_total(const T* row, int64_t n) {
  auto [top, sum] = row_sum(row, n);
  return {top, std::log(sum)};
}

/// softmax of each row of x (rows, n), dense, or its logarithm.
template <Floating T>
void softmax_rows(const T* x, int64_t rows, int64_t n, bool logarithm, T* y) {
  using C = Compute<T>;
  auto streamed = rows_are_streamed<T>(rows, n);
  auto run = [&](int64_t row, C* kept) {
    auto* from = x + row * n;
    auto* to = y + row * n;
    if (logarithm) {
      auto total = row_total(from, n);
      for_each_register(from, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
        store_row(total.log_softmax(v), to + i, count, streamed);
      });
      return;
    }
    // Exponentials are made once, and divided by their sum where they lie.
    Simd<C> factor(1 / exponential_row(from, n, kept).sum);
    for_each_register(kept, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      store_row(v * factor, to + i, count, streamed);
    });
  };
  for_row_chunks(rows, n, [&](int64_t first, int64_t last) {
    auto in_place = std::is_same_v<T, C> && !streamed;
    Scratch<C> kept(logarithm || in_place ? 0 : n);
    for (auto row = first; row < last; ++row) run(row, in_place ? reinterpret_cast<C*>(y + row * n) : kept.data());
    if (streamed) stream_fence();
  });
}

/// The gradient by x of each row of y = softmax(x) or its logarithm, (rows, n) dense.
template <Floating T>
void softmax_gradient_rows(const T* y, const T* dy, int64_t rows, int64_t n, bool logarithm, T* dx) {
  using C = Compute<T>;
  auto streamed = rows_are_streamed<T>(rows, n);
  auto gradient = [&](int64_t row) {
    auto *p = y + row * n, *d = dy + row * n;
    Simd<C> sums(C(0));
    for_each_register(d, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      sums = logarithm ? sums + v : fma(v, load_some<C>(p + i, count), sums);
    });
    Simd<C> sum(fold_lanes(sums, add_lanes));
    for_each_register(d, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      fetch_beyond(d + i, n);
      fetch_beyond(p + i, n);
      auto value = load_some<C>(p + i, count);
      store_row(logarithm ? v - exp_of_negative(value) * sum : value * (v - sum), dx + row * n + i, count, streamed);
    });
  };
  for_rows(rows, n, gradient, streamed);
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
