#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto log_formula = pointwise("log", [](auto x) { return log(x); });
inline constexpr auto log1p_formula = pointwise("log1p", [](auto x) { return log1p(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Natural logarithm: -infinity at 0, NaN below. Any shape; the result has the same.
template <Floating T>
Tensor<T> log(const Tensor<T>& x) {
  return detail::log_formula(x);
}

/// log(1 + x), exact near 0. Any shape; the result has the same.
template <Floating T>
Tensor<T> log1p(const Tensor<T>& x) {
  return detail::log1p_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
