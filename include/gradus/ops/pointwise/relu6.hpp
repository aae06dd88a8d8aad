#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto relu6_formula =
    pointwise("relu6", [](auto x) { return where(x <= 0.0, 0.0, where(x >= 6.0, 6.0, x)); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// min(max(x, 0), 6), NaN stays NaN; the gradient at 0 and 6 is 0. Any shape; the result has the same.
template <Floating T>
Tensor<T> relu6(const Tensor<T>& x) {
  return detail::relu6_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
