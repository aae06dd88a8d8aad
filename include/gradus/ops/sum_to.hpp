// The gradient of broadcasting.
#pragma once

#include "gradus/ops/reduction/sum.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Sums x down to `shape`, which broadcasts to x's: axes that were added or repeated are summed over.
template <Floating T>
Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  auto added = x.rank() - shape.rank();
  require<ShapeError>(added >= 0 && broadcast_shapes("sum_to", x.shape(), shape) == x.shape(), "sum_to: x is ",
                      x.shape(), " and cannot be summed to ", shape);
  Axes axes;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < added || (shape[i - added] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  }
  return reshape(sum(x, axes, true), shape);
}

}  // namespace gradus::inline GRADUS_BUILD
