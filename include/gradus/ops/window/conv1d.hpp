#pragma once

#include "gradus/ops/window/conv2d.hpp"

namespace gradus::inline GRADUS_BUILD {

struct Conv1dOptions {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
  Rectifier activation = Rectifier::none;  ///< applied to the result as it is written
};

/// Correlates sequences with kernels. x (n, c, steps), weight (out, c / groups, k), bias (out,) or undefined ->
/// (n, out, (steps + 2 padding - dilation (k - 1) - 1) / stride + 1). As torch.nn.functional.conv1d.
/// Throws ShapeError when the channels do not match or the kernel does not fit.
template <Floating T>
Tensor<T> conv1d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {},
                 const Conv1dOptions& options = {}) {
  require<ShapeError>(x.rank() == 3 && weight.rank() == 3, "conv1d: x is ", x.shape(), " and weight ", weight.shape(),
                      ", but they must be (n, c, steps) and (out, c / groups, k)");
  auto y = conv2d(unsqueeze(x, 2), unsqueeze(weight, 2), bias,
                  {.stride = {1, options.stride},
                   .padding = {0, options.padding},
                   .dilation = {1, options.dilation},
                   .groups = options.groups,
                   .activation = options.activation});
  return squeeze(y, 2);
}

}  // namespace gradus::inline GRADUS_BUILD
