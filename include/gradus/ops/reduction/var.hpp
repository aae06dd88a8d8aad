#pragma once

#include "gradus/ops/reduction/mean.hpp"

namespace gradus::inline GRADUS_BUILD {

struct VarOptions {
  bool keep_dims = false;
  int64_t correction = 1;  ///< divide by n - correction: 1 for a sample, 0 for a whole population
};

/// Variance over axes, from the differences to the mean.
template <Floating T>
Tensor<T> var(const Tensor<T>& x, const Axes& axes, VarOptions options = {}) {
  auto count = detail::ReduceShape("var", x.shape(), x.strides(), axes).reduced.numel();
  auto difference = x - mean(x, axes, true);
  return sum(difference * difference, axes, options.keep_dims) /
         static_cast<double>(std::max<int64_t>(count - options.correction, 0));
}
template <Floating T>
Tensor<T> var(const Tensor<T>& x, VarOptions options = {}) {
  return var(x, Axes::all(x.rank()), options);
}

}  // namespace gradus::inline GRADUS_BUILD
