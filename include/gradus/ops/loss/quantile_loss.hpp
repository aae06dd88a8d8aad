#pragma once

#include "gradus/ops/loss/reduce_losses.hpp"
#include "gradus/ops/pointwise.hpp"
#include "gradus/ops/view/reshape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {
inline constexpr auto quantile_loss_formula =
    pointwise("quantile_loss", [](auto predicted, auto target, auto quantile) {
      auto above = target - predicted;
      return maximum(quantile * above, (quantile - 1.0) * above);
    });
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Pinball loss (Koenker and Bassett, 1978): predicted (..., k) holds the k quantiles of target (...) -> mean over all,
/// or see Reduce. Its least value is at the quantiles; for 0.5 it is half the absolute error.
template <Floating T>
Tensor<T> quantile_loss(const Tensor<T>& predicted, const Tensor<T>& target, const Tensor<T>& quantiles,
                        Reduce reduction = Reduce::mean) {
  auto shape = target.shape();
  shape.push_back(quantiles.numel());
  require<ShapeError>(quantiles.rank() == 1 && predicted.shape() == shape, "quantile_loss: predicted is ",
                      predicted.shape(), ", target ", target.shape(), " and the quantiles ", quantiles.shape(),
                      ", but they must be (..., k), (...) and (k,)");
  for (auto q : quantiles.to_vector())
    require<ValueError>(q > T(0) && q < T(1), "quantile_loss: quantile ", static_cast<double>(q),
                        ", but must be between 0 and 1");
  return detail::reduce_losses(reduction, detail::quantile_loss_formula, predicted, unsqueeze(target, -1), quantiles);
}

}  // namespace gradus::inline GRADUS_BUILD
