#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto where_formula =
    pointwise("where", [](auto condition, auto a, auto b) { return where(condition, a, b); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// a where the condition holds, else b; the three broadcast, and a or b may be a number. What is not chosen gets
/// a gradient of 0 even where it is infinite or NaN.
template <Numeric T>
Tensor<T> where(const Tensor<bool>& condition, const Tensor<T>& a, const Tensor<T>& b) {
  return detail::where_formula(condition, a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> where(const Tensor<bool>& condition, N a, const Tensor<T>& b) {
  return detail::where_formula(condition, a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> where(const Tensor<bool>& condition, const Tensor<T>& a, N b) {
  return detail::where_formula(condition, a, b);
}

}  // namespace gradus::inline GRADUS_BUILD
