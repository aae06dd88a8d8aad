#pragma once

#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// 3 x 3 convolution, batch norm, relu.
template <Floating T = float>
struct ConvNormRelu {
  nn::Conv2d<T> conv;
  nn::BatchNorm2d<T> norm;
  GRADUS_FIELDS(conv, norm)

  ConvNormRelu(int64_t in, int64_t out)
      : conv(in, out, {.kernel = 3, .padding = 1, .bias = false}), norm(out, {.activation = Rectifier::relu}) {}
  Tensor<T> operator()(const Tensor<T>& x) { return norm(conv(x)); }  // (n, in, h, w) -> (n, out, h, w)
};

/// Two of them with the input added to their result (He et al., 2016).
template <Floating T = float>
struct ResidualPair {
  ConvNormRelu<T> first, second;
  GRADUS_FIELDS(first, second)

  explicit ResidualPair(int64_t channels) : first(channels, channels), second(channels, channels) {}
  Tensor<T> operator()(const Tensor<T>& x) { return x + second(first(x)); }
};

/// Nine layers with weights for small images, 32 x 32 or so, as David Page's entry to DAWNBench (2018) made known.
template <Floating T = float>
struct ResNet9 {
  ConvNormRelu<T> prepare, layer1;
  ResidualPair<T> residual1;
  ConvNormRelu<T> layer2, layer3;
  ResidualPair<T> residual3;
  nn::Linear<T> output;
  GRADUS_FIELDS(prepare, layer1, residual1, layer2, layer3, residual3, output)

  /// `width` channels after the first layer, doubled three times on the way.
  explicit ResNet9(int64_t channels = 3, int64_t classes = 10, int64_t width = 64)
      : prepare(channels, width),
        layer1(width, 2 * width),
        residual1(2 * width),
        layer2(2 * width, 4 * width),
        layer3(4 * width, 8 * width),
        residual3(8 * width),
        output(8 * width, classes) {}

  Tensor<T> operator()(const Tensor<T>& images) {     // (n, channels, 32, 32)
    auto x = max_pool2d(layer1(prepare(images)), 2);  // (n, 2 width, 16, 16)
    x = max_pool2d(layer2(residual1(x)), 2);          // (n, 4 width, 8, 8)
    x = residual3(max_pool2d(layer3(x), 2));          // (n, 8 width, 4, 4)
    x = max_pool2d(x, {x.size(2), x.size(3)});        // (n, 8 width, 1, 1)
    return output(flatten(x));                        // (n, classes)
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
