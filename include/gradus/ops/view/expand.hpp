// Broadcasting as a view, and its gradient.
#pragma once

#include "gradus/ops/sum_to.hpp"
#include "gradus/ops/view/reshape.hpp"

namespace gradus::inline GRADUS_BUILD {

/// x broadcast to `shape` without a copy: repeated axes have stride 0. Do not write into the result.
template <Element T>
Tensor<T> expand(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  require<ShapeError>(shape.rank() >= x.rank() && broadcast_shapes("expand", x.shape(), shape) == shape,
                      "expand: x is ", x.shape(), " and does not broadcast to ", shape);
  return detail::record_view("expand",
                             detail::raw_view(x, shape, detail::broadcast_strides(x.shape(), x.strides(), shape)), x,
                             [from = x.shape()](const Tensor<T>& dy) {
                               if constexpr (Floating<T>) return sum_to(dy, from);
                               else return dy;
                             });
}

}  // namespace gradus::inline GRADUS_BUILD
