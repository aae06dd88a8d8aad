// Random changes to images, for data::map and data::map_batches, and the scaling that networks want.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "gradus/core/rng.hpp"
#include "gradus/data/dataset.hpp"
#include "gradus/ops/window/window_options.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// (channels, height, width) is one sample, (n, channels, height, width) a batch.
struct ImageSizes {
  int64_t samples = 1, channels, height, width;

  ImageSizes(const char* name, const Shape& shape) {
    require<ShapeError>(shape.rank() == 3 || shape.rank() == 4, name, ": images are ", shape,
                        ", but must be (channels, height, width) or (n, channels, height, width)");
    if (shape.rank() == 4) samples = shape[0];
    channels = shape[shape.rank() - 3];
    height = shape[shape.rank() - 2];
    width = shape[shape.rank() - 1];
  }
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

struct RandomCropOptions {
  Size2d padding = 0;  ///< put around the image first, on both sides
  double fill = 0;     ///< the value of what is put around
};

/// A window of `size` from each image, at a random place. images (channels, height, width) or (n, channels, height,
/// width) of any element type -> the same with that height and width. Each image draws its place from the thread's
/// generator by itself, so that a batch gives what its samples one after the other give. ShapeError when the window is
/// larger than the padded image.
template <Numeric T>
Tensor<T> random_crop(const Tensor<T>& images, Size2d size, RandomCropOptions options = {}) {
  detail::ImageSizes sizes("random_crop", images.shape());
  auto [above, before] = options.padding.array();
  require<ValueError>(above >= 0 && before >= 0, "random_crop: padding is ", options.padding,
                      ", but must not be negative");
  if constexpr (Integer<T>) {
    using Limits = std::numeric_limits<T>;
    require<ValueError>(
        options.fill >= static_cast<double>(Limits::lowest()) && options.fill <= static_cast<double>(Limits::max()),
        "random_crop: fill is ", options.fill, ", which is out of the range of ", dtype_of<T>);
  }
  auto rows = sizes.height + 2 * above - size.rows + 1,
       columns = sizes.width + 2 * before - size.columns + 1;  // places
  require<ShapeError>(size.rows >= 1 && size.columns >= 1 && rows >= 1 && columns >= 1, "random_crop: a window of ",
                      size, " does not fit images ", images.shape(), " with padding ", options.padding);
  auto shape = images.shape();
  shape[shape.rank() - 2] = size.rows;
  shape[shape.rank() - 1] = size.columns;
  auto result = full<T>(shape, static_cast<T>(options.fill));  // (..., channels, size.rows, size.columns)
  auto source = contiguous(images.detach());
  auto* to = result.mutable_data();
  auto stream = default_generator().reserve(4 * sizes.samples);
  for (int64_t sample = 0; sample < sizes.samples; ++sample) {
    auto top = static_cast<int64_t>(stream.below(2 * sample, static_cast<uint64_t>(rows))) - above;
    auto left = static_cast<int64_t>(stream.below(2 * sample + 1, static_cast<uint64_t>(columns))) - before;
    auto first = std::max<int64_t>(left, 0), last = std::min(left + size.columns, sizes.width);
    for (int64_t channel = 0; channel < sizes.channels; ++channel) {
      const auto* plane = source.data() + (sample * sizes.channels + channel) * sizes.height * sizes.width;
      for (auto y = top; y < top + size.rows; ++y, to += size.columns) {
        if (y < 0 || y >= sizes.height || first >= last) continue;
        std::copy(plane + y * sizes.width + first, plane + y * sizes.width + last, to + (first - left));
      }
    }
  }
  return result;
}

/// Each image mirrored left to right with probability p, which it draws as random_crop does. images (channels, height,
/// width) or (n, channels, height, width) -> the same.
template <Numeric T>
Tensor<T> random_horizontal_flip(const Tensor<T>& images, double p = 0.5) {
  detail::ImageSizes sizes("random_horizontal_flip", images.shape());
  require<ValueError>(p >= 0 && p <= 1, "random_horizontal_flip: p is ", p, ", but must be from 0 to 1");
  auto result = images.clone();
  auto* row = result.mutable_data();
  auto stream = default_generator().reserve(4 * sizes.samples);
  for (int64_t sample = 0; sample < sizes.samples; ++sample) {
    auto flipped = static_cast<double>(stream.uniform(4 * sample)) < p;
    for (int64_t i = 0; i < sizes.channels * sizes.height; ++i, row += sizes.width) {
      if (flipped) std::reverse(row, row + sizes.width);
    }
  }
  return result;
}

}  // namespace gradus::data::inline GRADUS_BUILD
