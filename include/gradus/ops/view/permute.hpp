// Views that change the order of axes: permute, transpose.
#pragma once

#include "gradus/ops/view/reshape.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Axis i of the result is axis order[i] of x. Shares memory.
template <Element T>
Tensor<T> permute(const Tensor<T>& x, const Shape& order) {
  require<ShapeError>(order.rank() == x.rank(), "permute: order ", order, " for a tensor of shape ", x.shape());
  Shape shape, inverse = Shape::filled(x.rank(), -1);
  Strides strides;
  for (int i = 0; i < x.rank(); ++i) {
    auto axis = normalize_axis("permute", order[i], x.rank());
    require<ShapeError>(inverse[axis] < 0, "permute: order ", order, " names axis ", axis, " twice");
    inverse[axis] = i;
    shape.push_back(x.shape()[axis]);
    strides.push_back(x.strides()[axis]);
  }
  return detail::record_view("permute", detail::raw_view(x, shape, strides), x,
                             [inverse](const Tensor<T>& dy) { return permute(dy, inverse); });
}

/// Swaps two axes; by default the last two. Shares memory.
template <Element T>
Tensor<T> transpose(const Tensor<T>& x, int64_t first = -2, int64_t second = -1) {
  auto a = normalize_axis("transpose", first, x.rank()), b = normalize_axis("transpose", second, x.rank());
  Shape order;
  for (int i = 0; i < x.rank(); ++i) order.push_back(i == a ? b : i == b ? a : i);
  return permute(x, order);
}

}  // namespace gradus::inline GRADUS_BUILD
