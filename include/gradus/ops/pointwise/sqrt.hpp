#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto sqrt_formula = pointwise("sqrt", [](auto x) { return sqrt(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Square root. Any shape; NaN below 0; the gradient at 0 is infinite.
template <Floating T>
Tensor<T> sqrt(const Tensor<T>& x) {
  return detail::sqrt_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
