#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/relu6.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr auto relu_passed_formula =
    pointwise("relu_passed", [](auto dy, auto y) { return where(y <= 0.0, 0.0, dy); });
inline constexpr auto relu6_passed_formula =
    pointwise("relu6_passed", [](auto dy, auto y) { return where(y <= 0.0, 0.0, where(y >= 6.0, 0.0, dy)); });

/// What dy passes back through the rectifier that made y: itself where y was left as it was, else 0.
template <Floating T>
Tensor<T> rectified_gradient(const Tensor<T>& dy, const Tensor<T>& y, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return dy;
  return rectifier == Rectifier::relu ? relu_passed_formula(dy, y) : relu6_passed_formula(dy, y);
}

/// x with the rectifier applied, as an operator of its own.
template <Floating T>
Tensor<T> rectify(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none) return x;
  return rectifier == Rectifier::relu ? relu_formula(x) : relu6_formula(x);
}

/// Records a formula of one operand whose result stands in x's memory already. Its gradient must be the same at the
/// result as at what the result was made of; where nobody else will read the result, it takes its place.
template <Floating T, class Formula>
Tensor<T> record_in_place(const Formula& formula, const Tensor<T>& x) {
  auto y = x.detach();
  const auto& table = formula.template table<Tensor<T>>();
  auto gradient = [&table, name = formula.name(), result = saved(y.detach())](const Tensor<T>& dy) {
    auto spare = result.spare();
    KeptOperand operand;
    operand.save((spare.defined() ? spare : result()).impl());
    return Tensor<T>(pointwise_gradient(name, table, 0, {&operand, 1}, dy.impl(), spare.impl()));
  };
  return differentiable(formula.name(), y, wrt(x, std::move(gradient)));
}

/// What rectify() returns, of an x that its operator has rectified as it wrote it.
template <Floating T>
Tensor<T> record_rectified(const Tensor<T>& x, Rectifier rectifier) {
  if (rectifier == Rectifier::none || !x.requires_grad()) return x;
  return rectifier == Rectifier::relu ? record_in_place(relu_formula, x) : record_in_place(relu6_formula, x);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
