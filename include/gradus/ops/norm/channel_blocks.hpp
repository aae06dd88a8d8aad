// How batch norm goes through a dense (n, c, ...) tensor on the CPU: each (image, channel) plane is a run in memory.
// Where planes are short, several channels side by side are gone through as one run.
#pragma once

#include <array>

#include "gradus/core/shape.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/ops/norm/channel_kernels.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Cuts n images into at most 32 parts, and the channels into groups; (part, group) is a task, which goes through each
/// image's channels as they lie, so that memory is fetched ahead; what parts find is joined in index order. Both depend
/// on the shape alone.
class ChannelBlocks {
 public:
  explicit ChannelBlocks(const Shape& shape)
      : images(shape[0]), channels(shape[1]), plane(shape.numel() / std::max<int64_t>(shape[0] * shape[1], 1)) {
    if (shape.numel() == 0) plane = 0;
    if (plane == 0) return;
    if (plane <= longest_in_run) in_run = std::clamp<int64_t>(longest_run / plane, 1, channels);
    in_task = in_run > 1 ? in_run : std::clamp<int64_t>(longest_task / plane, 1, channels);
    // Short planes share a part, so that a channel's sums are not taken apart for a handful of elements.
    parts = std::clamp<int64_t>(images * plane * in_run / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(images, 1)));
  }

  int64_t images, channels, plane, parts = 1;
  int64_t in_run = 1, in_task = 1;  ///< channels
  int64_t per_channel() const { return images * plane; }

  /// body(run, offset, n, streamed) over all of memory, in any order; `streamed`: what it writes goes past the caches.
  /// numbers[channel]: the rows of ChannelRun.
  template <Floating T, class C, size_t N, class Body>
  void for_each_run(const RectifierRange<C>& range, const std::array<C, N>* numbers, const Body& body) const {
    if (in_run > 1) {
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

  /// sums[2 channel], sums[2 channel + 1] = those of what of the gradient passes the rectifier, and of that times
  /// x - mean.
  template <Floating T, class C>
  void gradient_sums(const ArrivedGradient<T>& arrived, const T* x, const RectifierRange<C>& range,
                     const std::array<C, 3>* numbers, C* sums) const {
    Scratch<C> partial(2 * parts * channels);
    for_tasks([&](int64_t part, int64_t first, int64_t count) {
      // Elements that have sums of their own: those of a run, or of a register for each of its channels.
      auto whole = in_run > 1;
      auto each = whole ? plane : simd_lanes;
      Rows<C, 3> rows(numbers + first, count, each);
      auto row = rows.run(range).row;
      Scratch<C> columns(2 * row);
      std::fill_n(columns.data(), 2 * row, C(0));
      for (auto image = image_begin(part); image < image_end(part); ++image) {
        auto offset = (image * channels + first) * plane;
        if (whole) {
          add_gradient_sums<T>(arrived.from(offset), x + offset, count * plane, rows.run(range), columns.data());
          continue;
        }
        for (int64_t c = 0; c < count; ++c, offset += plane)
          add_gradient_sums<T>(arrived.from(offset), x + offset, plane, rows.run(range, c),
                               columns.data() + 2 * c * simd_lanes);
      }
      auto* found = partial.data() + 2 * (part * channels + first);
      for (int64_t c = 0; c < 2 * count; ++c) {
        if (!whole) {
          found[c] = fold_lanes(Simd<C>::load(columns.data() + c * simd_lanes), add_lanes);
          continue;
        }
        auto* from = columns.data() + c % 2 * row + c / 2 * plane;
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
    Scratch<Moments<C>> partial(parts * channels);
    for_tasks([&](int64_t part, int64_t first, int64_t count) {
      auto* found = partial.data() + part * channels + first;
      auto* from = x + (image_begin(part) * channels + first) * plane;
      if (in_run == 1) return channel_moments<T>(from, count, image_count(part), plane, channels * plane, found);
      auto row = whole_registers(count * plane);
      Scratch<C> columns(2 * row);
      column_moments<T>(from, image_count(part), count * plane, channels * plane, row, columns.data());
      for (int64_t c = 0; c < count; ++c)
        found[c] = join_columns(columns.data() + c * plane, columns.data() + row + c * plane, image_count(part));
    });
    for (int64_t channel = 0; channel < channels; ++channel) {
      Moments<C> all;
      for (int64_t part = 0; part < parts; ++part) all.merge(partial[part * channels + channel]);
      mean[channel] = all.mean;
      variance[channel] = all.spread / all.count;
      inverse[channel] = C(1) / std::sqrt(all.spread / all.count + static_cast<C>(eps));
    }
  }

 private:
  /// A plane of more than longest_in_run elements is a run of its own. What goes with a run's elements shall stay in
  /// the first cache.
  static constexpr int64_t longest_in_run = 63, longest_run = 1024, longest_task = 16384;

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
    /// Of channel c alone, where planes are a register.
    ChannelRun<C> run(const RectifierRange<C>& range, int64_t c) const {
      return {memory_.data() + c * simd_lanes, row_, true, range};
    }

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

  /// Of a channel, from means and sums of squares of its plane's elements, each over `images` of them.
  template <class C>
  Moments<C> join_columns(const C* means, const C* squares, int64_t some_images) const {
    C sum = 0, spread = 0, between = 0;
    for (int64_t k = 0; k < plane; ++k) sum += means[k];
    auto mean = sum / static_cast<C>(plane);
    for (int64_t k = 0; k < plane; ++k) {
      spread += squares[k];
      between += (means[k] - mean) * (means[k] - mean);
    }
    return {mean, spread + static_cast<C>(some_images) * between, static_cast<C>(plane * some_images)};
  }

  int64_t image_begin(int64_t part) const { return images * part / parts; }
  int64_t image_end(int64_t part) const { return images * (part + 1) / parts; }
  int64_t image_count(int64_t part) const { return image_end(part) - image_begin(part); }

  /// body(part, first channel, how many) for every task.
  template <class Body>
  void for_tasks(Body&& body) const {
    auto groups = (channels + in_task - 1) / in_task, work = per_channel() * in_task / parts;
    parallel_for(parts * groups, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)),
                 [&](int64_t from, int64_t to) {
                   for (auto task = from; task < to; ++task) {
                     auto first = task % groups * in_task;
                     body(task / groups, first, std::min(in_task, channels - first));
                   }
                 });
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
