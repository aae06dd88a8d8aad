#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto abs_formula = pointwise("abs", [](auto x) { return abs(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Absolute value; the gradient at 0 is 0. Any shape; the result has the same.
template <Numeric T>
Tensor<T> abs(const Tensor<T>& x) {
  return detail::abs_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
