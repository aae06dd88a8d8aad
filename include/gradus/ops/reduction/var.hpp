#pragma once

#include "gradus/ops/reduction/mean.hpp"
#include "gradus/ops/reduction/moments.hpp"
#include "gradus/ops/reduction/rows.hpp"

namespace gradus::inline GRADUS_BUILD {

struct VarOptions {
  bool keep_dims = false;
  int64_t correction = 1;  ///< divide by n - correction: 1 for a sample, 0 for a whole population
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// Mean of each row of x (rows, n), dense, and the sum of squares around it over `divisor`.
template <Floating T>
void var_rows(const T* x, int64_t rows, int64_t n, double divisor, Compute<T>* means, T* y) {
  using C = Compute<T>;
  reduce_rows(
      rows, n, [&](int64_t row, int64_t from, int64_t to) { return run_moments(x + row * n + from, to - from); },
      [&](int64_t row, const Moments<C>& moments) {
        means[row] = moments.mean;
        y[row] = static_cast<T>(moments.spread / static_cast<C>(divisor));
      });
}

/// dx = 2 dy (x - mean) / divisor of each row.
template <Floating T>
void var_gradient_rows(const T* x, const Compute<T>* means, const T* dy, int64_t rows, int64_t n, double divisor,
                       T* dx) {
  using C = Compute<T>;
  auto streamed = rows_are_streamed<T>(rows, n);
  for_row_pieces(rows, n, streamed, [&](int64_t row, int64_t from, int64_t to) {
    Simd<C> mean(means[row]), factor(static_cast<C>(2 * static_cast<double>(dy[row]) / divisor));
    for_each_register(x + row * n + from, to - from, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      store_row((v - mean) * factor, dx + row * n + from + i, count, streamed);
    });
  });
}

/// x (..., n in all the last axes), dense -> y of `shape`.
template <Floating T>
Tensor<T> var_last(const Tensor<T>& x, int64_t n, const Shape& shape, double divisor) {
  auto y = Tensor<T>::empty(shape, x.device(), "var");
  auto rows = y.numel();
  auto means = Tensor<Compute<T>>::empty({rows}, x.device(), "var");
  var_rows<T>(x.data(), rows, n, divisor, reinterpret_cast<Compute<T>*>(means.impl()->data()),
              reinterpret_cast<T*>(y.impl()->data()));
  return differentiable("var", y, wrt(x, [x = saved(x), means, n, rows, divisor](const Tensor<T>& dy) {
                          if (grad_enabled()) {
                            auto flat = reshape(x(), {rows, n});
                            auto dx = (flat - mean(flat, 1, true)) * (reshape(dy, {rows, 1}) * (2 / divisor));
                            return reshape(dx, x().shape());
                          }
                          auto dense = contiguous(dy);
                          auto dx = Tensor<T>::empty(x().shape(), dy.device(), "var");
                          var_gradient_rows<T>(x().data(), means.data(), dense.data(), rows, n, divisor,
                                               reinterpret_cast<T*>(dx.impl()->data()));
                          return dx;
                        }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Variance over axes, from the differences to the mean.
template <Floating T>
Tensor<T> var(const Tensor<T>& x, const Axes& axes, VarOptions options = {}) {
  auto count = detail::ReduceShape("var", x.shape(), x.strides(), axes).reduced.numel();
  auto divisor = static_cast<double>(std::max<int64_t>(count - options.correction, 0));
  if (x.device().is_cpu()) {
    return detail::over_rows("var", x, axes, options.keep_dims,
                             [=](const Tensor<T>& rows, int64_t n, const Shape& shape) {
                               return detail::var_last(rows, n, shape, divisor);
                             });
  }
  auto difference = x - mean(x, axes, true);
  return sum(difference * difference, axes, options.keep_dims) / divisor;
}
template <Floating T>
Tensor<T> var(const Tensor<T>& x, VarOptions options = {}) {
  return var(x, Axes::all(x.rank()), options);
}

}  // namespace gradus::inline GRADUS_BUILD
