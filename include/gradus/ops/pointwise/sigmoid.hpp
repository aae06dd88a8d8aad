#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto sigmoid_formula = pointwise("sigmoid", [](auto x) { return sigmoid(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Logistic function, 1 / (1 + exp(-x)). Any shape; the result has the same.
template <Floating T>
Tensor<T> sigmoid(const Tensor<T>& x) {
  return detail::sigmoid_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
