#pragma once

#include "gradus/ops/loss/reduce_losses.hpp"
#include "gradus/ops/pointwise.hpp"

namespace gradus::inline GRADUS_BUILD {

template <Floating T>
struct BceOptions {
  Tensor<T> pos_weight = {};  ///< how many times a positive target counts; broadcasts to the logits; undefined: 1
  Reduce reduction = Reduce::mean;
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

// -weight t log sigmoid(x) - (1 - t) log sigmoid(-x), with what is linear in x taken out of the logarithms: no
// overflow, and tiny gradients keep their digits. -|x| is a choice, not abs(x), so that all derivatives are right at 0.
inline constexpr auto bce_with_logits_formula =
    pointwise("bce_with_logits", [](auto x, auto t, auto weight) GRADUS_INLINE_LAMBDA {
      auto positive = x >= 0.0;
      auto rest = log1p_of_exp(where(positive, -x, x));
      return (1.0 + (weight - 1.0) * t) * rest + x * where(positive, 1.0 - t, -(weight * t));
    });

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Binary cross-entropy of sigmoid(logits) without its overflow: the mean of -(pos_weight t log sigmoid(x) + (1 - t)
/// log sigmoid(-x)). Targets, from 0 to 1, have the logits' shape -> scalar, or that shape with Reduce::none. Gradients
/// reach logits, targets and pos_weight. As torch.nn.functional.binary_cross_entropy_with_logits.
template <Floating T>
Tensor<T> bce_with_logits(const Tensor<T>& logits, const Tensor<T>& targets, const BceOptions<T>& options = {}) {
  require<ShapeError>(logits.shape() == targets.shape(), "bce_with_logits: logits are ", logits.shape(),
                      " and targets ", targets.shape(), ", but their shapes must be equal");
  auto weight = options.pos_weight.defined() ? options.pos_weight : full<T>({}, T(1), logits.device());
  require<ShapeError>(broadcast_shapes("bce_with_logits", logits.shape(), weight.shape()) == logits.shape(),
                      "bce_with_logits: pos_weight is ", weight.shape(), ", but must broadcast to the logits' shape ",
                      logits.shape());
  return detail::reduce_losses(options.reduction, detail::bce_with_logits_formula, logits, targets, weight);
}

}  // namespace gradus::inline GRADUS_BUILD
