#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/relu6.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr auto relu_passed_formula =
    pointwise("relu_passed", [](auto dy, auto y) { return where(y <= 0.0, 0.0, dy); });
inline constexpr auto relu6_passed_formula =
    pointwise("relu6_passed", [](auto dy, auto y) { return where(y <= 0.0, 0.0, where(y >= 6.0, 0.0, dy)); });

/// What dy passes back through the rectifier that made y: itself where y was left as it was, else 0.
template <Floating T>
Tensor<T> rectified_gradient(const Tensor<T>& dy, const Tensor<T>& y, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return dy;
  return rectifier == Rectifier::relu ? relu_passed_formula(dy, y) : relu6_passed_formula(dy, y);
}

/// x with the rectifier applied, as an operator of its own.
template <Floating T>
Tensor<T> rectify(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return x;
  return rectifier == Rectifier::relu ? relu_formula(x) : relu6_formula(x);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
