#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto silu_formula = pointwise("silu", [](auto x) { return x * sigmoid(x); });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x times its sigmoid (Elfwing et al., 2017). Any shape; the result has the same.
template <Floating T>
Tensor<T> silu(const Tensor<T>& x) {
  return detail::silu_formula(x);
}

}  // namespace gradus::inline GRADUS_BUILD
