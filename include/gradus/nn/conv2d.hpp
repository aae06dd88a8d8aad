#pragma once

#include "gradus/nn/init.hpp"
#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/window/conv2d.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct Conv2dOptions {
  Size2d kernel = 3;
  Size2d stride = 1;
  Size2d padding = 0;
  Size2d dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  Rectifier activation = Rectifier::none;  ///< of the result
};

/// Convolution of images: (n, in, h, w) -> (n, out, oh, ow), see conv2d. Weight (out, in / groups, rows, columns), bias
/// (out,), as torch.nn.Conv2d.
template <Floating T>
struct Conv2d {
  Conv2dOptions options;
  Parameter<T> weight, bias;
  GRADUS_FIELDS(options, weight, bias)

  Conv2d(int64_t in, int64_t out, Conv2dOptions chosen = {}) : options(chosen) {
    require<ValueError>(options.groups >= 1 && in % options.groups == 0 && out % options.groups == 0, "Conv2d: ", in,
                        " input and ", out, " output channels do not divide into ", options.groups, " groups");
    auto fan_in = in / options.groups * options.kernel.rows * options.kernel.columns;
    weight = Parameter<T>(
        init::fan_in_uniform<T>({out, in / options.groups, options.kernel.rows, options.kernel.columns}, fan_in));
    if (options.bias) bias = Parameter<T>(init::fan_in_uniform<T>({out}, fan_in));
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    return detail::in_layer_of(weight, [&] {
      return conv2d(x, weight.tensor(), bias.tensor(),
                    {.stride = options.stride,
                     .padding = options.padding,
                     .dilation = options.dilation,
                     .groups = options.groups,
                     .activation = options.activation});
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
