#pragma once

#include "gradus/ops/loss/reduce_losses.hpp"
#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto squared_error_formula = pointwise("squared_error", [](auto a, auto b) {
  auto difference = a - b;
  return difference * difference;
});
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Mean of (prediction - target)^2 over all elements: a scalar. Both must have the same shape.
template <Floating T>
Tensor<T> mse_loss(const Tensor<T>& prediction, const Tensor<T>& target) {
  require<ShapeError>(prediction.shape() == target.shape(), "mse_loss: prediction is ", prediction.shape(),
                      " but target is ", target.shape(), "; reshape one, broadcasting here is nearly always a mistake");
  return detail::reduce_losses(Reduce::mean, detail::squared_error_formula, prediction, target);
}

}  // namespace gradus::inline GRADUS_BUILD
