#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto sin_formula = pointwise("sin", [](auto x) { return sin(x); });
inline constexpr auto cos_formula = pointwise("cos", [](auto x) { return cos(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Sine of x in radians. Any shape; the result has the same.
template <Floating T>
Tensor<T> sin(const Tensor<T>& x) {
  return detail::sin_formula(x);
}

/// Cosine of x in radians. Any shape; the result has the same.
template <Floating T>
Tensor<T> cos(const Tensor<T>& x) {
  return detail::cos_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
