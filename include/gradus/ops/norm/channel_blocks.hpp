// Passes over the channels of a dense (n, c, ...) tensor: each (image, channel) plane is a run in memory.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/ops/pointwise.hpp"
#include "gradus/ops/reduction/moments.hpp"

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

/// Mean of a channel's planes, and the sum of squares around it: `count` runs of `size` numbers, `stride` apart.
template <Floating T>
std::array<Compute<T>, 2> channel_moments(const T* x, int64_t count, int64_t size, int64_t stride) {
  auto moments = run_moments(x, count, size, stride);
  return {moments.mean, moments.spread};
}

/// y = (x - mean) scale + shift.
template <Floating T, class C = Compute<T>>
void normalize_plane(const T* x, int64_t n, C mean, C scale, C shift, T* y, bool streamed) {
  Simd<C> m(mean), factor(scale), rest(shift);
  for_each_register(x, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
    store_row(fma(v - m, factor, rest), y + i, count, streamed);
  });
}

/// The sums of dy, and of dy times the normalised x, over a channel's planes.
template <Floating T, class C = Compute<T>>
std::array<C, 2> channel_gradient_sums(const T* dy, const T* x, int64_t count, int64_t size, int64_t stride, C mean,
                                       C inverse) {
  Simd<C> m(mean), factor(inverse), plain(C(0)), scaled(C(0));
  for (int64_t i = 0; i < count; ++i, dy += stride, x += stride) {
    for_each_register(dy, size, C(0), [&](int64_t k, const Simd<C>& g, int64_t some) {
      auto normal = (load_some<C>(x + k, some) - m) * factor;
      plain = plain + g;
      scaled = fma(g, normal, scaled);
    });
  }
  return {fold_lanes(plain, add_lanes), fold_lanes(scaled, add_lanes)};
}

/// dx = scale dy + slope x + rest.
template <Floating T, class C = Compute<T>>
void plane_gradient(const T* dy, const T* x, int64_t n, C scale, C slope, C rest, T* dx, bool streamed) {
  Simd<C> a(scale), b(slope), d(rest);
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& g, int64_t count) {
    store_row(fma(g, a, fma(load_some<C>(x + i, count), b, d)), dx + i, count, streamed);
  });
}

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

  /// body(channel, offset, n) for every plane, in any order; `streamed`: what they write goes past the caches.
  template <class Body>
  void for_each(bool streamed, Body&& body) const {
    for_rows(
        images * channels, plane, [&](int64_t p) { body(p % channels, p * plane, plane); }, streamed);
  }

  /// totals[2 channel], totals[2 channel + 1] = the sums of what body(channel, offset, count, stride) gives for parts
  /// of the channel's planes.
  template <class C, class Body>
  void sum_pairs(C* totals, Body&& body) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t channel) {
      auto pair = of_part(part, channel, body);
      std::copy_n(pair.data(), 2, partial.data() + 2 * (part * channels + channel));
    });
    for (int64_t i = 0; i < 2 * channels; ++i) {
      totals[i] = partial[i];
      for (int64_t part = 1; part < parts; ++part) totals[i] += partial[2 * part * channels + i];
    }
  }

  /// Mean and variance of each channel: around each part's own mean, then merged (Chan et al., 1979).
  template <class C, class T>
  void moments(const T* x, ChannelStatistics<C>& statistics, double eps) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t channel) {
      auto pair = of_part(part, channel, [&](int64_t, int64_t offset, int64_t count, int64_t stride) {
        return channel_moments<T>(x + offset, count, plane, stride);
      });
      std::copy_n(pair.data(), 2, partial.data() + 2 * (part * channels + channel));
    });
    for (int64_t channel = 0; channel < channels; ++channel) {
      Moments<C> all;
      for (int64_t part = 0; part < parts; ++part) {
        auto* pair = partial.data() + 2 * (part * channels + channel);
        all.merge({pair[0], pair[1], static_cast<C>(part_size(part))});
      }
      statistics.mean[channel] = all.mean;
      statistics.variance[channel] = all.spread / all.count;
      statistics.inverse[channel] = C(1) / std::sqrt(all.spread / all.count + static_cast<C>(eps));
    }
  }

 private:
  int64_t image_begin(int64_t part) const { return images * part / parts; }
  int64_t image_end(int64_t part) const { return images * (part + 1) / parts; }
  int64_t part_size(int64_t part) const { return plane * (image_end(part) - image_begin(part)); }  ///< of a channel

  template <class Body>
  auto of_part(int64_t part, int64_t channel, Body&& body) const {
    auto first = image_begin(part);
    return body(channel, (first * channels + channel) * plane, image_end(part) - first, channels * plane);
  }
  template <class Body>
  void for_tasks(Body&& body) const {
    auto work = per_channel() / parts;
    parallel_for(parts * channels, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)),
                 [&](int64_t first, int64_t last) {
                   for (auto task = first; task < last; ++task) body(task / channels, task % channels);
                 });
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
