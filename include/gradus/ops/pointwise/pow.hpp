#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto pow_formula = pointwise("pow", [](auto x, auto y) { return pow(x, y); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x to the power y, as C's pow. Shapes broadcast.
template <Floating T>
Tensor<T> pow(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::pow_formula(a, b);
}
template <Floating T, ScalarFor<T> N>
Tensor<T> pow(const Tensor<T>& a, N b) {
  return detail::pow_formula(a, b);
}
template <Floating T, ScalarFor<T> N>
Tensor<T> pow(N a, const Tensor<T>& b) {
  return detail::pow_formula(a, b);
}

}  // namespace gradus::inline GRADUS_BUILD
