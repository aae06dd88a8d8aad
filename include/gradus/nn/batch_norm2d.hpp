#pragma once

#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/norm/batch_norm.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct BatchNorm2dOptions {
  double eps = 1e-5;                       ///< added to the variance
  double momentum = 0.1;                   ///< share of the batch in the running mean and variance
  Rectifier activation = Rectifier::none;  ///< applied to the result, in the same pass over memory
};

/// Normalises channels over the batch, see batch_norm: (n, channels, h, w) -> the same. While training it uses the
/// batch's statistics and updates the running ones; after eval(model) it uses those. `residual`, if given, is added
/// before the activation. Names as torch.nn.BatchNorm2d.
template <Floating T>
struct BatchNorm2d {
  BatchNorm2dOptions options;
  Parameter<T> weight, bias;
  Buffer<T> running_mean, running_var;
  Buffer<int64_t> num_batches_tracked;
  Training training;
  GRADUS_FIELDS(options, weight, bias, running_mean, running_var, num_batches_tracked, training)

  explicit BatchNorm2d(int64_t channels, BatchNorm2dOptions chosen = {})
      : options(chosen),
        weight(ones<T>({channels})),
        bias(zeros<T>({channels})),
        running_mean(zeros<T>({channels})),
        running_var(ones<T>({channels})),
        num_batches_tracked(zeros<int64_t>({})) {}

  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& residual = {}) {
    return detail::in_layer_of(weight, [&] {
      require<ShapeError>(x.rank() == 4, "batch_norm: input is ", x.shape(),
                          ", but must be (n, channels, height, width)");
      auto y = batch_norm(
          x, running_mean.tensor(), running_var.tensor(), weight.tensor(), bias.tensor(),
          {.training = training.on, .momentum = options.momentum, .eps = options.eps, .activation = options.activation},
          residual);
      if (training) {
        auto count = num_batches_tracked.tensor();
        count.copy_(count + int64_t{1});  // where it is: reading it would wait for a GPU
      }
      return y;
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
