#pragma once

#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/norm/add_norm.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct LayerNormOptions {
  double eps = 1e-5;               ///< added to the variance
  bool elementwise_affine = true;  ///< scale by a weight and add a bias after normalising
  bool bias = true;                ///< false: a weight without a bias
};

/// Normalises over the last axes, whose sizes are `normalized_shape`, see layer_norm; the result has the input's shape.
/// Weight and bias have the normalized shape and start at 1 and 0, as torch.nn.LayerNorm.
template <Floating T>
struct LayerNorm {
  Shape normalized_shape;
  LayerNormOptions options;
  Parameter<T> weight, bias;
  GRADUS_FIELDS(normalized_shape, options, weight, bias)

  explicit LayerNorm(const Shape& shape, LayerNormOptions chosen = {}) : normalized_shape(shape), options(chosen) {
    if (!options.elementwise_affine) return;
    weight = Parameter<T>(ones<T>(shape));
    if (options.bias) bias = Parameter<T>(zeros<T>(shape));
  }
  explicit LayerNorm(int64_t size, LayerNormOptions chosen = {}) : LayerNorm(Shape{size}, chosen) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    return detail::in_layer_of(
        weight, [&] { return layer_norm(x, normalized_shape, weight.tensor(), bias.tensor(), options.eps); });
  }
  /// x + added and the norm of that in one pass, see add_layer_norm.
  SumAndNormal<T> of_sum(const Tensor<T>& x, const Tensor<T>& added) const {
    return detail::in_layer_of(weight, [&] {
      return add_layer_norm(x, added, normalized_shape, weight.tensor(), bias.tensor(), options.eps);
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
