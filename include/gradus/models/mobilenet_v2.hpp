#pragma once

#include <algorithm>

#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/window/global_pool.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct MobileNetV2Options {
  int64_t classes = 1000;
  double width = 1;  ///< factor of the channels
  double dropout = 0.2;
};

}  // namespace gradus::models::inline GRADUS_BUILD

namespace gradus::models::detail::inline GRADUS_BUILD {

/// Channels times a factor, a multiple of 8 that is not more than a tenth smaller.
inline int64_t multiple_of_8(double channels) {
  auto rounded = std::max<int64_t>(8, static_cast<int64_t>(channels + 4) / 8 * 8);
  return static_cast<double>(rounded) < 0.9 * channels ? rounded + 8 : rounded;
}

/// Convolution without bias, norm, relu6: torchvision's Conv2dNormActivation, or its first two parts alone.
template <Floating T>
nn::Conv2d<T> mobile_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups = 1) {
  nn::Conv2d<T> conv(in, out,
                     {.kernel = kernel, .stride = stride, .padding = kernel / 2, .groups = groups, .bias = false});
  conv.weight = Parameter<T>(nn::init::he_normal<T>(conv.weight.shape(), out / groups * kernel * kernel));
  return conv;
}
template <Floating T>
nn::Sequential<T> mobile_stage(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups = 1) {
  nn::Sequential<T> stage;
  stage.append(mobile_conv<T>(in, out, kernel, stride, groups));
  stage.append(nn::BatchNorm2d<T>(out, {.activation = Rectifier::relu6}));
  return stage;
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD

namespace gradus::models::inline GRADUS_BUILD {

/// Widens the channels with 1 x 1, filters each with 3 x 3, narrows with 1 x 1; the input is added where it fits:
/// torchvision's InvertedResidual.
template <Floating T>
struct InvertedResidual {
  bool adds;
  nn::Sequential<T> conv;
  GRADUS_FIELDS(adds, conv)

  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion) : adds(stride == 1 && in == out) {
    auto wide = in * expansion;
    if (expansion != 1) conv.append(detail::mobile_stage<T>(in, wide, 1, 1));
    conv.append(detail::mobile_stage<T>(wide, wide, 3, stride, wide));
    conv.append(detail::mobile_conv<T>(wide, out, 1, 1)).append(nn::BatchNorm2d<T>(out));
  }

  Tensor<T> operator()(const Tensor<T>& x) {
    auto y = conv(x);
    return adds ? x + y : y;
  }
};

/// MobileNetV2 (Sandler et al., 2018): images (n, 3, h, w) -> logits (n, classes). Names, sizes and start as
/// torchvision's, whose weights fit.
template <Floating T = float>
struct MobileNetV2 {
  nn::Sequential<T> features, classifier;
  GRADUS_FIELDS(features, classifier)

  explicit MobileNetV2(const MobileNetV2Options& options = {}) {
    struct Stage {
      int64_t expansion, channels, blocks, stride;
    };
    constexpr Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    auto in = detail::multiple_of_8(32 * options.width),
         last = detail::multiple_of_8(1280 * std::max(1.0, options.width));
    features.append(detail::mobile_stage<T>(3, in, 3, 2));
    for (const auto& stage : stages) {
      auto out = detail::multiple_of_8(static_cast<double>(stage.channels) * options.width);
      for (int64_t i = 0; i < stage.blocks; ++i) {
        features.append(InvertedResidual<T>(in, out, i == 0 ? stage.stride : 1, stage.expansion));
        in = out;
      }
    }
    features.append(detail::mobile_stage<T>(in, last, 1, 1));
    nn::Linear<T> linear(last, options.classes);
    linear.weight = Parameter<T>(nn::init::normal<T>({options.classes, last}, 0.01));
    linear.bias = Parameter<T>(zeros<T>({options.classes}));
    classifier.append(nn::Dropout(options.dropout)).append(std::move(linear));
  }

  /// What the classifier reads: (n, 3, h, w) -> (n, 1280).
  Tensor<T> pooled(const Tensor<T>& images) { return global_avg_pool2d(features(images)); }
  Tensor<T> operator()(const Tensor<T>& images) { return classifier(pooled(images)); }
};

}  // namespace gradus::models::inline GRADUS_BUILD
