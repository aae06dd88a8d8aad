// What normalising passes back, in ordinary operators: batch_norm and layer_norm take it for higher derivatives.
#pragma once

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/sqrt.hpp"
#include "gradus/ops/reduction/mean.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Gradients of x, weight and bias for y = (x - mean) / sqrt(variance + eps) * weight + bias, whose moments are over
/// the axes `over`, and whose parameters repeat along the axes `repeated`. weight broadcasts to x, or is undefined; the
/// gradients of the parameters are without the axes `repeated`.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> norm_gradient(const Tensor<T>& dy, const Tensor<T>& x,
                                                          const Tensor<T>& weight, const Axes& over,
                                                          const Axes& repeated, double eps) {
  auto centered = x - mean(x, over, true);
  auto inverse = 1.0 / sqrt(mean(centered * centered, over, true) + eps);
  auto normal = centered * inverse;  // shape of x, as are g and dx
  auto g = weight.defined() ? dy * weight : dy;
  auto dx = inverse * (g - mean(g, over, true) - normal * mean(g * normal, over, true));
  return {dx, sum(dy * normal, repeated), sum(dy, repeated)};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
