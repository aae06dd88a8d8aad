#pragma once

#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/norm/add_norm.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct RMSNormOptions {
  double eps = 1e-6;  ///< added to the mean of squares
};

/// Divides by the root of the mean of squares over the last axis, see rms_norm; the result has the input's shape. The
/// weight (size,) starts at 1, as torch.nn.RMSNorm.
template <Floating T>
struct RMSNorm {
  RMSNormOptions options;
  Parameter<T> weight;
  GRADUS_FIELDS(options, weight)

  explicit RMSNorm(int64_t size, RMSNormOptions chosen = {}) : options(chosen), weight(ones<T>({size})) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    return detail::in_layer_of(weight, [&] { return rms_norm(x, weight.tensor(), options.eps); });
  }
  /// x + added and the norm of that in one pass, see add_rms_norm.
  SumAndNormal<T> of_sum(const Tensor<T>& x, const Tensor<T>& added) const {
    return detail::in_layer_of(weight, [&] { return add_rms_norm(x, added, weight.tensor(), options.eps); });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
