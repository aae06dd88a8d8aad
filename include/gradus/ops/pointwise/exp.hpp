#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto exp_formula = pointwise("exp", [](auto x) { return exp(x); });
inline constexpr auto expm1_formula = pointwise("expm1", [](auto x) { return expm1(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// e to the power x. Any shape; the result has the same.
template <Floating T>
Tensor<T> exp(const Tensor<T>& x) {
  return detail::exp_formula(x);
}

/// exp(x) - 1, exact near 0. Any shape; the result has the same.
template <Floating T>
Tensor<T> expm1(const Tensor<T>& x) {
  return detail::expm1_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
