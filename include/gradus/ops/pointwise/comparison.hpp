// Comparisons, element by element, and logic on their results. NaN compares false, except for !=.
#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto less_formula = pointwise("less", [](auto a, auto b) { return a < b; });
inline constexpr auto less_equal_formula = pointwise("less_equal", [](auto a, auto b) { return a <= b; });
inline constexpr auto greater_formula = pointwise("greater", [](auto a, auto b) { return a > b; });
inline constexpr auto greater_equal_formula = pointwise("greater_equal", [](auto a, auto b) { return a >= b; });
inline constexpr auto equal_formula = pointwise("equal", [](auto a, auto b) { return a == b; });
inline constexpr auto not_equal_formula = pointwise("not_equal", [](auto a, auto b) { return a != b; });
inline constexpr auto logical_and_formula = pointwise("logical_and", [](auto a, auto b) { return a && b; });
inline constexpr auto logical_or_formula = pointwise("logical_or", [](auto a, auto b) { return a || b; });
inline constexpr auto logical_not_formula = pointwise("logical_not", [](auto a) { return !a; });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

// Shapes broadcast; the result is bool.

template <Numeric T>
Tensor<bool> operator<(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::less_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator<(const Tensor<T>& a, N b) {
  return detail::less_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator<(N a, const Tensor<T>& b) {
  return detail::less_formula(a, b);
}

template <Numeric T>
Tensor<bool> operator<=(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::less_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator<=(const Tensor<T>& a, N b) {
  return detail::less_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator<=(N a, const Tensor<T>& b) {
  return detail::less_equal_formula(a, b);
}

template <Numeric T>
Tensor<bool> operator>(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::greater_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator>(const Tensor<T>& a, N b) {
  return detail::greater_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator>(N a, const Tensor<T>& b) {
  return detail::greater_formula(a, b);
}

template <Numeric T>
Tensor<bool> operator>=(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::greater_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator>=(const Tensor<T>& a, N b) {
  return detail::greater_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator>=(N a, const Tensor<T>& b) {
  return detail::greater_equal_formula(a, b);
}

template <Numeric T>
Tensor<bool> operator==(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator==(const Tensor<T>& a, N b) {
  return detail::equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator==(N a, const Tensor<T>& b) {
  return detail::equal_formula(a, b);
}

template <Numeric T>
Tensor<bool> operator!=(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::not_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator!=(const Tensor<T>& a, N b) {
  return detail::not_equal_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<bool> operator!=(N a, const Tensor<T>& b) {
  return detail::not_equal_formula(a, b);
}

inline Tensor<bool> operator&&(const Tensor<bool>& a, const Tensor<bool>& b) {
  return detail::logical_and_formula(a, b);
}
inline Tensor<bool> operator||(const Tensor<bool>& a, const Tensor<bool>& b) {
  return detail::logical_or_formula(a, b);
}
inline Tensor<bool> operator!(const Tensor<bool>& a) { return detail::logical_not_formula(a); }

}  // namespace gradus::inline GRADUS_BUILD
