#pragma once

#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto swiglu_formula = pointwise("swiglu", [](auto gate, auto x) { return gate * sigmoid(gate) * x; });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// silu(gate) * x (Shazeer, 2020). Shapes broadcast.
template <Floating T>
Tensor<T> swiglu(const Tensor<T>& gate, const Tensor<T>& x) {
  return detail::swiglu_formula(gate, x);
}

}  // namespace gradus::inline GRADUS_BUILD
