#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto erf_formula = pointwise("erf", [](auto x) { return erf(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Any shape; the result has the same.
template <Floating T>
Tensor<T> erf(const Tensor<T>& x) {
  return detail::erf_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
