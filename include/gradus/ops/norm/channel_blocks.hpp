// Passes over the channels of a dense (n, c, ...) tensor: each (image, channel) plane is a run in memory.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/pointwise.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr auto scale_shift_formula =
    pointwise("scale_shift", [](auto x, auto scale, auto shift) { return x * scale + shift; });

/// Mean, variance and 1 / sqrt(variance + eps) of each channel. Shared by the copies of a gradient's closure.
template <class C>
class ChannelStatistics {
 public:
  explicit ChannelStatistics(int64_t channels)
      : memory_(Tensor<C>::empty({3 * channels})),
        mean(data()),
        variance(data() + channels),
        inverse(data() + 2 * channels) {}

 private:
  C* data() const { return reinterpret_cast<C*>(memory_.impl()->data()); }
  Tensor<C> memory_;

 public:
  C *mean, *variance, *inverse;
};

/// Cuts n images into at most 32 parts; (part, channel) is a task, and parts are combined in index order.
class ChannelBlocks {
 public:
  explicit ChannelBlocks(const Shape& shape)
      : images(shape[0]), channels(shape[1]), plane(shape.numel() / std::max<int64_t>(shape[0] * shape[1], 1)) {
    if (shape.numel() == 0) plane = 0;
    // Short planes share a part, so that a channel's sums are not taken apart for a handful of elements.
    auto wanted = images * plane / 8192;
    parts = std::clamp<int64_t>(wanted, 1, std::min<int64_t>(32, std::max<int64_t>(images, 1)));
  }

  int64_t images, channels, plane, parts = 1;
  int64_t per_channel() const { return images * plane; }

  /// body(channel, offset, n) for every plane, in any order.
  template <class Body>
  void for_each(Body&& body) const {
    parallel_for(images * channels, std::max<int64_t>(1, 16384 / std::max<int64_t>(plane, 1)),
                 [&](int64_t first, int64_t last) {
                   for (auto p = first; p < last; ++p) body(p % channels, p * plane, plane);
                 });
  }

  /// totals[2 channel], totals[2 channel + 1] = sums of what body(channel, offset, n, first, second) adds to two
  /// registers for each plane.
  template <class C, class Body>
  void sum_pairs(C* totals, Body&& body) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t channel) {
      Simd<C> first(C(0)), second(C(0));
      for_images(part,
                 [&](int64_t image) { body(channel, (image * channels + channel) * plane, plane, first, second); });
      partial[2 * (part * channels + channel)] = fold_lanes(first, [](C a, C b) { return a + b; });
      partial[2 * (part * channels + channel) + 1] = fold_lanes(second, [](C a, C b) { return a + b; });
    });
    for (int64_t i = 0; i < 2 * channels; ++i) {
      totals[i] = partial[i];
      for (int64_t part = 1; part < parts; ++part) totals[i] += partial[2 * part * channels + i];
    }
  }

  /// Mean and variance of each channel: around each part's own mean, then merged (Chan et al., 1979). A part's planes
  /// of a channel are few enough to be in the cache still when they are read again.
  template <class C, class T>
  void moments(const T* x, ChannelStatistics<C>& statistics, double eps) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t channel) {
      auto add = [](C a, C b) { return a + b; };
      auto planes = [&](auto&& body) {
        for_images(part, [&](int64_t image) { body(x + (image * channels + channel) * plane); });
      };
      Simd<C> total(C(0)), squares(C(0));
      planes([&](const T* from) {
        for_each_register(from, plane, C(0), [&](int64_t, const Simd<C>& v, int64_t) { total = total + v; });
      });
      auto mean = fold_lanes(total, add) / static_cast<C>(part_size(part));
      Simd<C> center(mean);
      planes([&](const T* from) {
        for_each_register(from, plane, mean,
                          [&](int64_t, const Simd<C>& v, int64_t) { squares = fma(v - center, v - center, squares); });
      });
      partial[2 * (part * channels + channel)] = mean;
      partial[2 * (part * channels + channel) + 1] = fold_lanes(squares, add);
    });
    for (int64_t channel = 0; channel < channels; ++channel) {
      C mean = 0, spread = 0, count = 0;
      for (int64_t part = 0; part < parts; ++part) {
        auto* of_part = partial.data() + 2 * (part * channels + channel);
        merge(mean, spread, count, of_part[0], of_part[1], static_cast<C>(part_size(part)));
      }
      statistics.mean[channel] = mean;
      statistics.variance[channel] = spread / count;
      statistics.inverse[channel] = C(1) / std::sqrt(spread / count + static_cast<C>(eps));
    }
  }

 private:
  int64_t image_begin(int64_t part) const { return images * part / parts; }
  int64_t image_end(int64_t part) const { return images * (part + 1) / parts; }
  int64_t part_size(int64_t part) const { return plane * (image_end(part) - image_begin(part)); }  ///< of a channel

  template <class Body>
  void for_images(int64_t part, Body&& body) const {
    for (auto image = image_begin(part); image < image_end(part); ++image) body(image);
  }
  template <class Body>
  void for_tasks(Body&& body) const {
    auto work = per_channel() / parts;
    parallel_for(parts * channels, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)),
                 [&](int64_t first, int64_t last) {
                   for (auto task = first; task < last; ++task) body(task / channels, task % channels);
                 });
  }
  template <class C>
  static void merge(C& mean, C& spread, C& count, C other_mean, C other_spread, C other_count) {
    if (other_count == 0) return;
    auto total = count + other_count, difference = other_mean - mean;
    spread += other_spread + difference * difference * (count * other_count / total);
    mean += difference * (other_count / total);
    count = total;
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
