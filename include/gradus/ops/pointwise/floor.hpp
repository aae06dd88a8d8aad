#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto floor_formula = pointwise("floor", [](auto x) { return floor(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Largest whole number not above x. Any shape; the gradient is 0.
template <Floating T>
Tensor<T> floor(const Tensor<T>& x) {
  return detail::floor_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
