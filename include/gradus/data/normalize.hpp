// Brings inputs to mean 0 and standard deviation 1: images by channel, tables by column.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "gradus/data/augment.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Mean and sum of squared differences to it, of numbers that come in parts (Chan, Golub and LeVeque, 1979).
struct RunningMoments {
  double count = 0, mean = 0, squares = 0;

  void add(double n, double part_mean, double part_squares) {
    if (n == 0) return;
    auto difference = part_mean - mean, total = count + n;
    mean += difference * n / total;
    squares += part_squares + difference * difference * count * n / total;
    count = total;
  }
  /// Of the population: divided by the count. 0 where no more than the rounding of the sums is seen, as in
  /// scikit-learn.
  double std() const {
    auto result = std::sqrt(squares / count),
         rounding = count * std::abs(mean) * std::numeric_limits<double>::epsilon();
    return result > rounding ? result : 0;
  }
};

/// Adds values[0], values[stride], ...; those that are NaN do not count.
template <class T>
void add_moments(RunningMoments& moments, const T* values, int64_t count, int64_t stride) {
  double n = 0, sum = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    auto value = static_cast<double>(values[i * stride]);
    if (std::isnan(value)) continue;
    n += 1;
    sum += value;
  }
  for (int64_t i = 0; i < count; ++i) {
    auto difference = static_cast<double>(values[i * stride]) - sum / n;
    if (!std::isnan(difference)) squares += difference * difference;
  }
  moments.add(n, sum / n, squares);
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

/// Of the pixels of each channel: {.mean = {0.2860}, .std = {0.3530}} for Fashion-MNIST from 0 to 1.
struct ChannelStats {
  std::vector<double> mean, std;
};

/// The statistics of a data set's images: the first part of its samples, (channels, height, width), of any numeric
/// type. Standard deviations are the population's. ValueError for an empty set.
template <class D>
requires Dataset<D> ChannelStats channel_stats(const D& dataset) {
  auto count = static_cast<int64_t>(dataset.size());
  require<ValueError>(count > 0, "channel_stats: the data set is empty");
  std::vector<detail::RunningMoments> moments;
  std::vector<int64_t> indices;
  constexpr int64_t part = 256;
  for (int64_t first = 0; first < count; first += part) {
    indices.clear();
    for (auto i = first; i < std::min(first + part, count); ++i) indices.push_back(i);
    auto images = contiguous(std::get<0>(detail::make_batch(dataset, std::span<const int64_t>(indices))));
    require<ShapeError>(images.rank() == 4, "channel_stats: a sample's first part must be (channels, height, width), ",
                        "but ", images.size(0), " of them are ", images.shape());
    moments.resize(static_cast<size_t>(images.size(1)));
    auto plane = images.size(2) * images.size(3);
    for (int64_t i = 0; i < images.size(0) * images.size(1); ++i) {
      detail::add_moments(moments[static_cast<size_t>(i % images.size(1))], images.data() + i * plane, plane, 1);
    }
  }
  ChannelStats stats;
  for (const auto& channel : moments) {
    stats.mean.push_back(channel.mean);
    stats.std.push_back(channel.std());
  }
  return stats;
}

/// (images - mean) / std of each channel. images (channels, height, width) or (n, channels, height, width) -> the same.
/// As torchvision's normalize. ValueError for a standard deviation that is not above 0.
template <Floating T>
Tensor<T> normalize(const Tensor<T>& images, const ChannelStats& stats) {
  detail::ImageSizes sizes("normalize", images.shape());
  auto channels = std::ssize(stats.mean);
  require<ShapeError>(channels == sizes.channels && channels == std::ssize(stats.std), "normalize: images are ",
                      images.shape(), " with ", sizes.channels, " channels, but there are ", channels, " means and ",
                      stats.std.size(), " standard deviations");
  for (size_t i = 0; i < stats.std.size(); ++i) {
    require<ValueError>(stats.std[i] > 0, "normalize: the standard deviation of channel ", i, " is ", stats.std[i],
                        ", but must be above 0");
  }
  auto result = images.clone();
  auto* pixel = result.mutable_data();
  for (int64_t plane = 0; plane < sizes.samples * channels; ++plane) {
    auto channel = static_cast<size_t>(plane % channels);
    auto mean = static_cast<Compute<T>>(stats.mean[channel]), scale = static_cast<Compute<T>>(1 / stats.std[channel]);
    for (auto* end = pixel + sizes.height * sizes.width; pixel < end; ++pixel) {
      *pixel = static_cast<T>((static_cast<Compute<T>>(*pixel) - mean) * scale);
    }
  }
  return result;
}

}  // namespace gradus::data::inline GRADUS_BUILD
