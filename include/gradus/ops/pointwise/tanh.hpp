#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto tanh_formula = pointwise("tanh", [](auto x) { return tanh(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Hyperbolic tangent. Any shape; the result has the same.
template <Floating T>
Tensor<T> tanh(const Tensor<T>& x) {
  return detail::tanh_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
