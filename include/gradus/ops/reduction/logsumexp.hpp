#pragma once

#include "gradus/ops/loss/softmax.hpp"
#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/ops/pointwise/log.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "gradus/ops/reduction/rows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// log(sum(exp(x))) of each row of x (rows, n), dense, and in two parts.
template <Floating T>
void logsumexp_rows(const T* x, int64_t rows, int64_t n, RowTotal<Compute<T>>* totals, T* y) {
  using C = Compute<T>;
  reduce_rows(
      rows, n, [&](int64_t row, int64_t from, int64_t to) { return row_sum(x + row * n + from, to - from); },
      [&](int64_t row, const RowSum<C>& of_row) {
        auto finite = of_row.top - of_row.top == 0;  // infinities are not subtracted from each other
        totals[row] = {of_row.top, finite ? std::log(of_row.sum) : C(0)};
        y[row] = static_cast<T>(totals[row].top + totals[row].log_sum);
      });
}

/// dx = dy exp(x - y) of each row, as PyTorch's: NaN where infinities are subtracted.
template <Floating T>
void logsumexp_gradient_rows(const T* x, const RowTotal<Compute<T>>* totals, const T* dy, int64_t rows, int64_t n,
                             T* dx) {
  using C = Compute<T>;
  auto streamed = rows_are_streamed<T>(rows, n);
  for_row_pieces(rows, n, streamed, [&](int64_t row, int64_t from, int64_t to) {
    Simd<C> factor(static_cast<C>(dy[row]));
    for_each_register(x + row * n + from, to - from, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      store_row(exp_of_negative(totals[row].log_softmax(v)) * factor, dx + row * n + from + i, count, streamed);
    });
  });
}

/// x (..., n in all the last axes), dense -> y of `shape`.
template <Floating T>
Tensor<T> logsumexp_last(const Tensor<T>& x, int64_t n, const Shape& shape) {
  auto y = Tensor<T>::empty(shape, x.device(), "logsumexp");
  auto rows = y.numel();
  auto totals = Tensor<Compute<T>>::empty({rows, 2}, x.device(), "logsumexp");  // a RowTotal each
  auto* total = reinterpret_cast<RowTotal<Compute<T>>*>(totals.impl()->data());
  logsumexp_rows<T>(x.data(), rows, n, total, reinterpret_cast<T*>(y.impl()->data()));
  return differentiable("logsumexp", y, wrt(x, [x = saved(x), totals, total, n, rows](const Tensor<T>& dy) {
                          if (grad_enabled()) {
                            auto flat = reshape(x(), {rows, n});
                            return reshape(softmax_last(flat) * reshape(dy, {rows, 1}), x().shape());
                          }
                          auto dense = contiguous(dy);
                          auto dx = Tensor<T>::empty(x().shape(), dy.device(), "logsumexp");
                          logsumexp_gradient_rows<T>(x().data(), total, dense.data(), rows, n,
                                                     reinterpret_cast<T*>(dx.impl()->data()));
                          return dx;
                        }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// log(sum(exp(x))) over axes, without overflow. -infinity over nothing but -infinities.
template <Floating T>
Tensor<T> logsumexp(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  if (x.device().is_cpu()) return detail::over_rows("logsumexp", x, axes, keep_dims, detail::logsumexp_last<T>);
  auto split = detail::ReduceShape("logsumexp", x.shape(), x.strides(), axes);
  auto top = no_grad([&] {  // keep_dims; infinities are not subtracted from each other
    auto m = max(x, axes, true);
    return where(abs(m) == std::numeric_limits<double>::infinity(), 0.0, m).detach();
  });
  auto y = log(sum(exp(x - top), axes, true)) + top;
  return keep_dims ? y : reshape(y, split.kept);
}
template <Floating T>
Tensor<T> logsumexp(const Tensor<T>& x) {
  return logsumexp(x, Axes::all(x.rank()));
}

}  // namespace gradus::inline GRADUS_BUILD
