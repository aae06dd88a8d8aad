#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto relu_formula = pointwise("relu", [](auto x) { return where(x <= 0.0, 0.0, x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// max(x, 0), NaN stays NaN; the gradient at 0 is 0. Any shape; the result has the same.
template <Floating T>
Tensor<T> relu(const Tensor<T>& x) {
  return detail::relu_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
