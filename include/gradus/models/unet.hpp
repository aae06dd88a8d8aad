#pragma once

#include <vector>

#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/window/max_pool2d.hpp"
#include "gradus/ops/window/resize.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct UNetOptions {
  int64_t channels = 3;  ///< of the images
  int64_t classes = 1;   ///< numbers for each pixel
  int64_t width = 64;    ///< channels at full size, doubled with each halving of the image
  int64_t levels = 4;    ///< how often the image is halved
};

/// 3 x 3 convolution, batch norm and relu, twice: (n, in, h, w) -> (n, out, h, w).
template <Floating T = float>
struct DoubleConv {
  nn::Conv2d<T> conv1;
  nn::BatchNorm2d<T> bn1;
  nn::Conv2d<T> conv2;
  nn::BatchNorm2d<T> bn2;
  GRADUS_FIELDS(conv1, bn1, conv2, bn2)

  DoubleConv(int64_t in, int64_t out)
      : conv1(in, out, {.kernel = 3, .padding = 1, .bias = false}),
        bn1(out, {.activation = Rectifier::relu}),
        conv2(out, out, {.kernel = 3, .padding = 1, .bias = false}),
        bn2(out, {.activation = Rectifier::relu}) {}
  Tensor<T> operator()(const Tensor<T>& x) { return bn2(conv2(bn1(conv1(x)))); }
};

/// A number or more for each pixel (Ronneberger et al., 2015): images (n, channels, h, w) -> (n, classes, h, w). The
/// way down halves the image and doubles the channels, the way up joins what each level saw with what came from below.
/// As usual today it has padding and batch norm, and makes images larger by bilinear interpolation.
template <Floating T = float>
struct UNet {
  DoubleConv<T> first;
  std::vector<DoubleConv<T>> down, up;
  nn::Conv2d<T> output;
  GRADUS_FIELDS(first, down, up, output)

  explicit UNet(const UNetOptions& options = {})
      : first(options.channels, options.width), output(options.width, options.classes, {.kernel = 1}) {
    require<ValueError>(options.levels >= 1, "UNet: ", options.levels, " levels, but there must be at least 1");
    auto width = options.width;
    for (int64_t i = 0; i < options.levels; ++i, width *= 2) down.emplace_back(width, 2 * width);
    for (int64_t i = 0; i < options.levels; ++i, width /= 2) up.emplace_back(width / 2 + width, width / 2);
  }

  /// ShapeError unless height and width can be halved `levels` times.
  Tensor<T> operator()(const Tensor<T>& images) {
    auto multiple = int64_t{1} << down.size();
    require<ShapeError>(images.rank() == 4 && images.size(2) % multiple == 0 && images.size(3) % multiple == 0,
                        "UNet: images are ", images.shape(),
                        ", but must be (n, channels, h, w) with h and w multiples of ", multiple);
    std::vector<Tensor<T>> seen = {first(images)};                               // (n, width, h, w)
    for (auto& block : down) seen.push_back(block(max_pool2d(seen.back(), 2)));  // (n, width 2^i, h / 2^i, w / 2^i)
    auto x = seen.back();
    for (size_t i = 0; i < up.size(); ++i) {
      const auto& beside = seen[seen.size() - 2 - i];
      x = up[i](cat<T>({beside, resize_bilinear(x, {beside.size(2), beside.size(3)})}, 1));
    }
    return output(x);
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
