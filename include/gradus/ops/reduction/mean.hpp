#pragma once

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/sum.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Mean over axes; they disappear, or stay with size 1 when keep_dims. The mean of nothing is NaN.
template <Floating T>
Tensor<T> mean(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  auto count = detail::ReduceShape("mean", x.shape(), x.strides(), axes).reduced.numel();
  return sum(x, axes, keep_dims) / static_cast<double>(count);
}

/// Mean of all elements: a scalar.
template <Floating T>
Tensor<T> mean(const Tensor<T>& x) {
  return mean(x, Axes::all(x.rank()));
}

}  // namespace gradus::inline GRADUS_BUILD
