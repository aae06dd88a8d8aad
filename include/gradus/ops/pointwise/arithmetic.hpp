// + - * / of tensors that broadcast, and of tensors with numbers.
#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto add_formula = pointwise("add", [](auto a, auto b) { return a + b; });
inline constexpr auto subtract_formula = pointwise("subtract", [](auto a, auto b) { return a - b; });
inline constexpr auto multiply_formula = pointwise("multiply", [](auto a, auto b) { return a * b; });
inline constexpr auto divide_formula = pointwise("divide", [](auto a, auto b) { return a / b; });
inline constexpr auto negate_formula = pointwise("negate", [](auto x) { return -x; });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Sum. Shapes broadcast.
template <Numeric T>
Tensor<T> operator+(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::add_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator+(const Tensor<T>& a, N b) {
  return detail::add_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator+(N a, const Tensor<T>& b) {
  return detail::add_formula(a, b);
}

/// Difference. Shapes broadcast.
template <Numeric T>
Tensor<T> operator-(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::subtract_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator-(const Tensor<T>& a, N b) {
  return detail::subtract_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator-(N a, const Tensor<T>& b) {
  return detail::subtract_formula(a, b);
}

/// Product, element by element (matmul is the matrix product). Shapes broadcast.
template <Numeric T>
Tensor<T> operator*(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::multiply_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator*(const Tensor<T>& a, N b) {
  return detail::multiply_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator*(N a, const Tensor<T>& b) {
  return detail::multiply_formula(a, b);
}

/// Quotient. Whole numbers are cut towards 0 as in C++, and x / 0 is 0 for them. Shapes broadcast.
template <Numeric T>
Tensor<T> operator/(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::divide_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator/(const Tensor<T>& a, N b) {
  return detail::divide_formula(a, b);
}
template <Numeric T, ScalarFor<T> N>
Tensor<T> operator/(N a, const Tensor<T>& b) {
  return detail::divide_formula(a, b);
}

template <Numeric T>
Tensor<T> operator-(const Tensor<T>& x) {
  return detail::negate_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
