// What the losses have in common.
#pragma once

#include "gradus/ops/reduction/mean.hpp"

namespace gradus::inline GRADUS_BUILD {

/// How the losses of a batch become one number.
enum class Reduce { mean, sum, none };

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// Losses of any shape -> a scalar, or themselves with Reduce::none. The mean of none is NaN, as PyTorch's.
template <Floating T>
Tensor<T> reduce_losses(const Tensor<T>& losses, Reduce reduction) {
  if (reduction == Reduce::none) return losses;
  return reduction == Reduce::sum ? sum(losses) : mean(losses);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
