#pragma once

#include <array>
#include <optional>
#include <vector>

#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/ops/window/global_pool.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct ResNetOptions {
  std::array<int64_t, 4> blocks = {2, 2, 2, 2};  ///< how many in each stage
  bool bottleneck = false;                       ///< blocks of three convolutions, with four times the channels behind
  int64_t classes = 1000;
  int64_t channels = 3;  ///< of the images
  int64_t width = 64;    ///< channels in the first stage, doubled in each that follows
};

}  // namespace gradus::models::inline GRADUS_BUILD

namespace gradus::models::detail::inline GRADUS_BUILD {

/// A convolution without bias whose output is as large as its input, or half with stride 2.
template <Floating T>
nn::Conv2d<T> resnet_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  nn::Conv2d<T> conv(in, out, {.kernel = kernel, .stride = stride, .padding = kernel / 2, .bias = false});
  conv.weight = Parameter<T>(nn::init::he_normal<T>(conv.weight.shape(), out * kernel * kernel));
  return conv;
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD

namespace gradus::models::inline GRADUS_BUILD {

/// Convolutions with the input added to their result (He et al., 2016): torchvision's BasicBlock, two of 3 x 3, or its
/// Bottleneck, 1 x 1, 3 x 3 and 1 x 1. The first of 3 x 3 has the stride.
template <Floating T>
struct ResidualBlock {
  nn::Conv2d<T> conv1;
  nn::BatchNorm2d<T> bn1;
  nn::Conv2d<T> conv2;
  nn::BatchNorm2d<T> bn2;
  std::optional<nn::Conv2d<T>> conv3;
  std::optional<nn::BatchNorm2d<T>> bn3;
  nn::Sequential<T> downsample;  ///< empty where the input can be added as it is
  GRADUS_FIELDS(conv1, bn1, conv2, bn2, conv3, bn3, downsample)

  ResidualBlock(int64_t in, int64_t width, int64_t stride, bool bottleneck)
      : conv1(detail::resnet_conv<T>(in, width, bottleneck ? 1 : 3, bottleneck ? 1 : stride)),
        bn1(width, {.activation = Rectifier::relu}),
        conv2(detail::resnet_conv<T>(width, width, 3, bottleneck ? stride : 1)),
        bn2(width, {.activation = Rectifier::relu}) {
    auto out = bottleneck ? 4 * width : width;
    if (bottleneck) {
      conv3 = detail::resnet_conv<T>(width, out, 1, 1);
      bn3.emplace(out, nn::BatchNorm2dOptions{.activation = Rectifier::relu});
    }
    if (stride != 1 || in != out)
      downsample.append(detail::resnet_conv<T>(in, out, 1, stride)).append(nn::BatchNorm2d<T>(out));
  }

  /// (n, in, h, w) -> (n, width, h / stride, w / stride), with bottleneck of 4 width.
  Tensor<T> operator()(const Tensor<T>& x) {
    auto y = conv2(bn1(conv1(x)));
    return conv3 ? (*bn3)((*conv3)(bn2(y)), downsample(x)) : bn2(y, downsample(x));
  }
};

/// Deep residual network for images (He et al., 2016), with the names, sizes and start of torchvision's, whose
/// weights fit. See resnet18 and resnet50; {3, 4, 6, 3} without bottleneck is ResNet-34.
template <Floating T = float>
struct ResNet {
  nn::Conv2d<T> conv1;
  nn::BatchNorm2d<T> bn1;
  std::vector<ResidualBlock<T>> layer1, layer2, layer3, layer4;
  nn::Linear<T> fc;
  GRADUS_FIELDS(conv1, bn1, layer1, layer2, layer3, layer4, fc)

  explicit ResNet(const ResNetOptions& options = {})
      : conv1(detail::resnet_conv<T>(options.channels, options.width, 7, 2)),
        bn1(options.width, {.activation = Rectifier::relu}),
        fc(8 * options.width * (options.bottleneck ? 4 : 1), options.classes) {
    auto in = options.width, width = options.width;
    int64_t stride = 1;
    auto count = options.blocks.begin();
    for (auto* stage : {&layer1, &layer2, &layer3, &layer4}) {
      for (int64_t i = 0; i < *count; ++i) {
        stage->emplace_back(in, width, i == 0 ? stride : 1, options.bottleneck);
        in = options.bottleneck ? 4 * width : width;
      }
      width *= 2;
      stride = 2;
      ++count;
    }
  }

  Tensor<T> operator()(const Tensor<T>& images) {       // (n, channels, h, w)
    auto x = bn1(conv1(images));                        // (n, width, h / 2, w / 2)
    x = max_pool2d(x, 3, {.stride = 2, .padding = 1});  // (n, width, h / 4, w / 4)
    for (auto* stage : {&layer1, &layer2, &layer3, &layer4}) {
      for (auto& block : *stage) x = block(x);
    }
    return fc(global_avg_pool2d(x));  // (n, classes)
  }
};

/// ResNet-18: 11.7 million parameters with 1000 classes.
template <Floating T = float>
ResNet<T> resnet18(int64_t classes = 1000) {
  return ResNet<T>({.classes = classes});
}

/// ResNet-50: 25.6 million parameters with 1000 classes.
template <Floating T = float>
ResNet<T> resnet50(int64_t classes = 1000) {
  return ResNet<T>({.blocks = {3, 4, 6, 3}, .bottleneck = true, .classes = classes});
}

}  // namespace gradus::models::inline GRADUS_BUILD
