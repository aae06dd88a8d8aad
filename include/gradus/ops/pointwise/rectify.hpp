#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/relu6.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// x with the rectifier applied, as an operator of its own.
template <Floating T>
Tensor<T> rectify(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return x;
  return rectifier == Rectifier::relu ? relu_formula(x) : relu6_formula(x);
}

/// What a formula of one operand passes back of dy, from its result: for one whose derivative is the same there as at
/// what the result was made of. In the result's own memory where nobody else will read it.
template <Floating T, class Formula>
Tensor<T> gradient_at_result(const Formula& formula, const Tensor<T>& dy, const Saved<T>& result) {
  auto spare = result.spare();
  KeptOperand operand;
  operand.save((spare.defined() ? spare : result()).impl());
  const auto& table = formula.template table<Tensor<T>>();
  return Tensor<T>(pointwise_gradient(formula.name(), table, 0, {&operand, 1}, dy.impl(), spare.impl()));
}
/// Of relu or relu6.
template <Floating T>
Tensor<T> rectified_gradient(const Tensor<T>& dy, const Saved<T>& result, Rectifier rectifier) {
  return rectifier == Rectifier::relu ? gradient_at_result(relu_formula, dy, result)
                                      : gradient_at_result(relu6_formula, dy, result);
}

/// Records what rectify() returns, of an x that its operator has rectified as it wrote it.
template <Floating T>
Tensor<T> record_rectified(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none || !x.requires_grad()) return x;
  auto y = x.detach();
  auto gradient = [rectifier, result = saved(y.detach())](const Tensor<T>& dy) {
    return rectified_gradient(dy, result, rectifier);
  };
  return differentiable(rectifier == Rectifier::relu ? "relu" : "relu6", y, wrt(x, std::move(gradient)));
}

}  // namespace gradus::detail::inline GRADUS_BUILD
