#pragma once

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/reduction/sum.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// The largest or smallest element over axes, as reducer R picks it.
template <template <class> class R, Numeric T>
Tensor<T> extreme(const char* op, const Tensor<T>& x, const Axes& axes, bool keep_dims) {
  auto split = ReduceShape(op, x.shape(), x.strides(), axes);
  require<ShapeError>(split.reduced.numel() > 0 || split.kept.numel() == 0, op, ": nothing to choose from in axes ",
                      axes, " of shape ", x.shape());
  auto y = reduce<R<T>>(op, x, axes, keep_dims);
  if constexpr (Floating<T>) {
    return differentiable(op, y, wrt(x, [op, x = saved(x), kept = split.keep_dims, axes](const Tensor<T>& dy) {
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
