// How batch norm goes through a dense (n, c, ...) tensor on the CPU: each (image, channel) plane is a run in memory.
// Where planes are short, several channels side by side are gone through as one run.
#pragma once

#include <array>

#include "gradus/core/shape.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/ops/norm/channel_kernels.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Cuts n images into at most 32 parts, and the channels into groups; (part, group) is a task, and what parts find is
/// joined in index order. Both depend on the shape alone.
class ChannelBlocks {
 public:
  explicit ChannelBlocks(const Shape& shape)
      : images(shape[0]), channels(shape[1]), plane(shape.numel() / std::max<int64_t>(shape[0] * shape[1], 1)) {
    if (shape.numel() == 0) plane = 0;
    if (plane > 0 && plane <= longest_in_group) group = std::clamp<int64_t>(longest_run / plane, 1, channels);
    // Short planes share a part, so that a channel's sums are not taken apart for a handful of elements.
    parts = std::clamp<int64_t>(images * plane * group / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(images, 1)));
  }

  int64_t images, channels, plane, group = 1, parts;
  int64_t per_channel() const { return images * plane; }

  /// body(run, offset, n, streamed) over all of memory, in any order; `streamed`: what it writes goes past the caches.
  /// numbers[channel]: the rows of ChannelRun.
  template <Floating T, class C, size_t N, class Body>
  void for_each_run(const RectifierRange<C>& range, const std::array<C, N>* numbers, const Body& body) const {
    if (group > 1) {
      return for_tasks([&](int64_t part, int64_t first, int64_t count) {
        Rows<C, N> rows(numbers + first, count, plane);
        for (auto image = image_begin(part); image < image_end(part); ++image)
          body(rows.run(range), (image * channels + first) * plane, count * plane, false);
      });
    }
    auto streamed = rows_are_streamed<T>(images * channels, plane);
    for_rows(
        images * channels, plane,
        [&](int64_t p) {
          RegisterRows<C, N> rows(numbers[p % channels]);
          body(rows.run(range), p * plane, plane, streamed);
        },
        streamed);
  }

  /// sums[2 channel], sums[2 channel + 1] = those of what dy passes through the rectifier, and of that times x - mean.
  template <Floating T, class C>
  void gradient_sums(const T* dy, const T* x, const RectifierRange<C>& range, const std::array<C, 3>* numbers,
                     C* sums) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t first, int64_t count) {
      auto* found = partial.data() + 2 * (part * channels + first);
      auto offset = (image_begin(part) * channels + first) * plane, next = channels * plane;
      if (group == 1) {
        RegisterRows<C, 3> rows(numbers[first]);
        auto pair = channel_gradient_sums<T>(dy + offset, x + offset, image_count(part), plane, next, rows.run(range));
        std::copy_n(pair.data(), 2, found);
        return;
      }
      Rows<C, 3> rows(numbers + first, count, plane);
      auto run = rows.run(range);
      Scratch<C> columns(2 * run.row);
      std::fill_n(columns.data(), 2 * run.row, C(0));
      for (int64_t i = 0; i < image_count(part); ++i)
        add_gradient_sums<T>(dy + offset + i * next, x + offset + i * next, count * plane, run, columns.data());
      for (int64_t c = 0; c < 2 * count; ++c) {
        auto* from = columns.data() + c % 2 * run.row + c / 2 * plane;
        found[c] = from[0];
        for (int64_t k = 1; k < plane; ++k) found[c] += from[k];
      }
    });
    for (int64_t i = 0; i < 2 * channels; ++i) {
      sums[i] = partial[i];
      for (int64_t part = 1; part < parts; ++part) sums[i] += partial[2 * part * channels + i];
    }
  }

  /// Mean, variance and 1 / sqrt(variance + eps) of each channel: around each part's own mean, then merged (Chan et
  /// al., 1979).
  template <class C, class T>
  void moments(const T* x, double eps, C* mean, C* variance, C* inverse) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t first, int64_t count) {
      auto* found = partial.data() + 2 * (part * channels + first);
      auto* from = x + (image_begin(part) * channels + first) * plane;
      if (group == 1) {
        auto pair = channel_moments<T>(from, image_count(part), plane, channels * plane);
        std::copy_n(pair.data(), 2, found);
        return;
      }
      auto row = whole_registers(count * plane);
      Scratch<C> columns(2 * row);
      column_moments<T>(from, image_count(part), count * plane, channels * plane, row, columns.data());
      for (int64_t c = 0; c < count; ++c)
        join_columns(columns.data() + c * plane, columns.data() + row + c * plane, image_count(part), found + 2 * c);
    });
    for (int64_t channel = 0; channel < channels; ++channel) {
      Moments<C> all;
      for (int64_t part = 0; part < parts; ++part) {
        auto* pair = partial.data() + 2 * (part * channels + channel);
        all.merge({pair[0], pair[1], static_cast<C>(plane * image_count(part))});
      }
      mean[channel] = all.mean;
      variance[channel] = all.spread / all.count;
      inverse[channel] = C(1) / std::sqrt(all.spread / all.count + static_cast<C>(eps));
    }
  }

 private:
  /// A plane of more elements is a run of its own. What goes with a run's elements shall stay in the first cache.
  static constexpr int64_t longest_in_group = 63, longest_run = 1024;

  static constexpr int64_t whole_registers(int64_t n) { return (n + simd_lanes - 1) / simd_lanes * simd_lanes; }

  /// What a ChannelRun reads: of several channels...
  template <class C, size_t N>
  class Rows {
   public:
    Rows(const std::array<C, N>* numbers, int64_t count, int64_t plane)
        : row_(whole_registers(count * plane) + simd_lanes), memory_(static_cast<int64_t>(N) * row_) {
      for (int64_t c = 0; c < count; ++c) {
        for (size_t k = 0; k < N; ++k) {
          // Registers may reach into the next channel's elements, which come after.
          auto* to = memory_.data() + static_cast<int64_t>(k) * row_ + c * plane;
          for (int64_t i = 0; i < plane; i += simd_lanes) Simd<C>(numbers[c][k]).store(to + i);
        }
      }
    }
    ChannelRun<C> run(const RectifierRange<C>& range) const { return {memory_.data(), row_, false, range}; }

   private:
    int64_t row_;
    Scratch<C> memory_;
  };
  /// ... or of one.
  template <class C, size_t N>
  class RegisterRows {
   public:
    explicit RegisterRows(const std::array<C, N>& numbers) {
      for (size_t k = 0; k < N; ++k) Simd<C>(numbers[k]).store(&rows_[k][0]);
    }
    ChannelRun<C> run(const RectifierRange<C>& range) const { return {&rows_[0][0], simd_lanes, true, range}; }

   private:
    alignas(64) C rows_[N][simd_lanes];
  };

  /// {mean, sum of squares around it} of a channel, from those of its plane's elements, each over `images` of them.
  template <class C>
  void join_columns(const C* means, const C* squares, int64_t some_images, C* pair) const {
    C sum = 0, spread = 0, between = 0;
    for (int64_t k = 0; k < plane; ++k) sum += means[k];
    auto mean = sum / static_cast<C>(plane);
    for (int64_t k = 0; k < plane; ++k) {
      spread += squares[k];
      between += (means[k] - mean) * (means[k] - mean);
    }
    pair[0] = mean;
    pair[1] = spread + static_cast<C>(some_images) * between;
  }

  int64_t image_begin(int64_t part) const { return images * part / parts; }
  int64_t image_end(int64_t part) const { return images * (part + 1) / parts; }
  int64_t image_count(int64_t part) const { return image_end(part) - image_begin(part); }

  /// body(part, first channel, how many) for every task.
  template <class Body>
  void for_tasks(Body&& body) const {
    auto groups = (channels + group - 1) / group, work = per_channel() * group / parts;
    parallel_for(parts * groups, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)),
                 [&](int64_t from, int64_t to) {
                   for (auto task = from; task < to; ++task) {
                     auto first = task % groups * group;
                     body(task / groups, first, std::min(group, channels - first));
                   }
                 });
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
