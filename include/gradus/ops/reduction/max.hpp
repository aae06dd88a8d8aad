#pragma once

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/reduction/rows.hpp"
#include "gradus/ops/reduction/sum.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// How many elements of a row equal `top`.
template <class C>
struct Ties {
  C count;
  void merge(const Ties& next) { count += next.count; }
};
template <Floating T, class C = Compute<T>>
Ties<C> count_ties(const T* row, int64_t n, C top) {
  auto ties = fold_row(
      row, n, C(0), std::numeric_limits<C>::quiet_NaN(),
      [wanted = Simd<C>(top)](const Simd<C>& sum, const Simd<C>& v, int64_t)
          GRADUS_INLINE_LAMBDA { return sum + where(v == wanted, C(1), C(0)); },
      add_lanes);
  return {fold_lanes(ties, add_lanes)};
}

/// What x (rows, n), dense, gets for each row's extreme y: dy, shared among all elements that equal y.
template <Floating T>
void extreme_gradient_rows(const T* x, const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  using C = Compute<T>;
  auto streamed = rows_are_streamed<T>(rows, n);
  auto ties_of = [&](int64_t row, int64_t from, int64_t to) {
    return count_ties(x + row * n + from, to - from, static_cast<C>(y[row]));
  };
  auto share_out = [&](int64_t row, int64_t from, int64_t to, C ties) {
    Simd<C> top(static_cast<C>(y[row])), share(static_cast<C>(dy[row]) / ties);
    auto* begin = x + row * n + from;
    for_each_register(begin, to - from, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      fetch_beyond(begin + i, to - from);
      store_row(where(v == top, share, C(0)), dx + row * n + from + i, count, streamed);
    });
  };
  if (n <= row_piece) {  // a row is in the cache still when it is read again
    return for_row_pieces(rows, n, streamed, [&](int64_t row, int64_t from, int64_t to) {
      share_out(row, from, to, ties_of(row, from, to).count);
    });
  }
  Scratch<C> ties(rows);
  reduce_rows(rows, n, ties_of, [&](int64_t row, const Ties<C>& all) { ties[row] = all.count; });
  for_row_pieces(rows, n, streamed,
                 [&](int64_t row, int64_t from, int64_t to) { share_out(row, from, to, ties[row]); });
}

/// The largest or smallest element over axes, as reducer R picks it.
template <template <class> class R, Numeric T>
Tensor<T> extreme(const char* op, const Tensor<T>& x, const Axes& axes, bool keep_dims) {
  auto split = ReduceShape(op, x.shape(), x.strides(), axes);
  require<ShapeError>(split.reduced.numel() > 0 || split.kept.numel() == 0, op, ": nothing to choose from in axes ",
                      axes, " of shape ", x.shape());
  auto y = reduce<R<T>>(op, x, axes, keep_dims);
  if constexpr (Floating<T>) {
    auto in_rows = x.device().is_cpu() && x.is_contiguous() && reduces_last_axes(x.rank(), axes);
    return differentiable(
        op, y,
        wrt(x, [op, x = saved(x), y = saved(y.detach()), kept = split.keep_dims, axes, in_rows](const Tensor<T>& dy) {
          if (in_rows && !grad_enabled()) {
            auto dense = contiguous(dy);
            auto dx = Tensor<T>::empty(x().shape(), dy.device(), op);
            auto rows = y().numel();
            extreme_gradient_rows<T>(x().data(), y().data(), dense.data(), rows,
                                     dx.numel() / std::max<int64_t>(rows, 1), reinterpret_cast<T*>(dx.impl()->data()));
            return dx;
          }
          auto top = no_grad([&] { return x() == extreme<R>(op, x(), axes, true); });  // shape of x
          auto ties = no_grad([&] { return cast<T>(sum(top, axes, true)); });          // keep_dims
          return where(top, expand(reshape(dy, kept) / ties, x().shape()), 0.0);
        }));
  } else {
    return y;
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Largest element over axes, NaN if there is one. Elements that tie share the gradient evenly (as torch.amax).
/// Throws ShapeError for a maximum over nothing.
template <Numeric T>
Tensor<T> max(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  return detail::extreme<detail::MaxReducer>("max", x, axes, keep_dims);
}
/// Largest of all elements: a scalar.
template <Numeric T>
Tensor<T> max(const Tensor<T>& x) {
  return max(x, Axes::all(x.rank()));
}

/// Smallest element over axes; else as max.
template <Numeric T>
Tensor<T> min(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  return detail::extreme<detail::MinReducer>("min", x, axes, keep_dims);
}
template <Numeric T>
Tensor<T> min(const Tensor<T>& x) {
  return min(x, Axes::all(x.rank()));
}

}  // namespace gradus::inline GRADUS_BUILD
