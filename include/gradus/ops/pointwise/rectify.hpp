#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/relu6.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// x with the rectifier applied, as an operator of its own.
template <Floating T>
Tensor<T> rectify(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return x;
  return rectifier == Rectifier::relu ? relu_formula(x) : relu6_formula(x);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
