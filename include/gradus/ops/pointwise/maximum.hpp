#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto maximum_formula = pointwise("maximum", [](auto a, auto b) { return maximum(a, b); });
inline constexpr auto minimum_formula = pointwise("minimum", [](auto a, auto b) { return minimum(a, b); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The larger of two, element by element; NaN if either is. At a tie each gets half of the gradient, beside a NaN all.
template <Numeric T>
Tensor<T> maximum(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::maximum_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> maximum(const Tensor<T>& a, N b) {
  return detail::maximum_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> maximum(N a, const Tensor<T>& b) {
  return detail::maximum_formula(a, b);
}

/// The smaller of two, element by element; else as maximum.
template <Numeric T>
Tensor<T> minimum(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::minimum_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> minimum(const Tensor<T>& a, N b) {
  return detail::minimum_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> minimum(N a, const Tensor<T>& b) {
  return detail::minimum_formula(a, b);
}

}  // namespace gradus::inline GRADUS_BUILD
