#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto softplus_formula =
    pointwise("softplus", [](auto x) { return maximum(x, 0.0) + log1p_of_exp(-abs(x)); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// log(1 + exp(x)), without overflow: a smooth relu, always positive. Any shape; the result has the same.
template <Floating T>
Tensor<T> softplus(const Tensor<T>& x) {
  return detail::softplus_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
