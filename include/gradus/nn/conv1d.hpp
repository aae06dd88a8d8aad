#pragma once

#include "gradus/nn/init.hpp"
#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/window/conv1d.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct Conv1dOptions {
  int64_t kernel = 3, stride = 1, padding = 0, dilation = 1, groups = 1;
  bool bias = true;
  Rectifier activation = Rectifier::none;  ///< of the result
};

/// Convolution of sequences: (n, in, steps) -> (n, out, steps'), see conv1d. Weight (out, in / groups, kernel), bias
/// (out,), as torch.nn.Conv1d.
template <Floating T>
struct Conv1d {
  Conv1dOptions options;
  Parameter<T> weight, bias;
  GRADUS_FIELDS(options, weight, bias)

  Conv1d(int64_t in, int64_t out, Conv1dOptions chosen = {}) : options(chosen) {
    require<ValueError>(options.groups >= 1 && in % options.groups == 0 && out % options.groups == 0, "Conv1d: ", in,
                        " input and ", out, " output channels do not divide into ", options.groups, " groups");
    auto fan_in = in / options.groups * options.kernel;
    weight = Parameter<T>(init::fan_in_uniform<T>({out, in / options.groups, options.kernel}, fan_in));
    if (options.bias) bias = Parameter<T>(init::fan_in_uniform<T>({out}, fan_in));
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    return detail::in_layer_of(weight, [&] {
      return conv1d(x, weight.tensor(), bias.tensor(),
                    {.stride = options.stride,
                     .padding = options.padding,
                     .dilation = options.dilation,
                     .groups = options.groups,
                     .activation = options.activation});
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
