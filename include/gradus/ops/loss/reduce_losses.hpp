// What the losses have in common.
#pragma once

#include "gradus/ops/formula/sum_of.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"

namespace gradus::inline GRADUS_BUILD {

/// How the losses of a batch become one number.
enum class Reduce { mean, sum, none };

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// The losses that a formula gives -> a scalar, or themselves with Reduce::none. The mean of none is NaN, as PyTorch's.
/// The first operand has the shape of the losses.
template <class Formula, Floating T, class... A>
Tensor<T> reduce_losses(Reduce reduction, const Formula& formula, const Tensor<T>& first, const A&... rest) {
  if (reduction == Reduce::none) return formula(first, rest...);
  auto total = sum_of(formula, first, rest...);
  return reduction == Reduce::sum ? total : total / static_cast<double>(first.numel());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
