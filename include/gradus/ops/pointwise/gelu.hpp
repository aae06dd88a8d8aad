#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto gelu_formula = pointwise("gelu", [](auto x) { return x * normal_cdf(x); });
inline constexpr auto gelu_tanh_formula = pointwise("gelu_tanh", [](auto x) {
  return x * sigmoid(x * (1.5957691216057308 + 0.07135481627260025 * (x * x)));  // (1 + tanh(u)) / 2 is sigmoid(2 u)
});
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Gaussian error linear unit, x times the normal distribution function (Hendrycks and Gimpel, 2016). Any shape.
template <Floating T>
Tensor<T> gelu(const Tensor<T>& x) {
  return detail::gelu_formula(x);
}

/// Its tanh approximation, as GPT-2 uses it. Any shape.
template <Floating T>
Tensor<T> gelu_tanh(const Tensor<T>& x) {
  return detail::gelu_tanh_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
