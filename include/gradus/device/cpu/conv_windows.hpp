// The windows of a convolution over zero-padded images, and how they are packed as operands of matrix products.
#pragma once

#include <array>
#include <utility>

#include "gradus/device/cpu/gemm_kernel.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Windows of `kh` x `kw` over a padded image of `channels` channels; `oh` x `ow` of them.
struct Windows {
  int64_t channels, height, width;  ///< of the padded image
  int64_t kh, kw, oh, ow;
  std::array<int64_t, 2> stride, dilation;
  /// Columns that lie so far apart are neighbours in the padded image, which is then (channels, phases, height, width)
  /// without the phases that no window meets; neighbouring windows lie one column apart.
  int64_t column_phases = 1;

  static constexpr int64_t slack = 64;  ///< elements that may be read beyond the last image
  int64_t phases() const { return std::min(column_phases, dilation[1] * (kw - 1) + 1); }
  int64_t image_size() const { return channels * phases() * height * width; }
  int64_t depth() const { return channels * kh * kw; }
  int64_t pixels() const { return oh * ow; }
  /// Where element `k` = (channel, row, column) of the window at the origin lies in the padded image.
  int64_t offset(int64_t k) const {
    auto column = k % kw * dilation[1], row = k / kw % kh * dilation[0], channel = k / (kw * kh);
    return ((channel * phases() + column % column_phases) * height + row) * width + column / column_phases;
  }
};

/// Copies an image (channels, h, w) into a zeroed one (channels, height, width): element (y, x) goes to
/// (top + y * step, left + x * step), if that lies inside.
template <class C, class T>
void pad_image(const T* from, int64_t h, int64_t w, C* to, const Windows& windows, int64_t top, int64_t left,
               const std::array<int64_t, 2>& step) {
  std::fill_n(to, windows.image_size(), C(0));
  for (int64_t c = 0; c < windows.channels; ++c) {
    for (int64_t y = 0; y < h; ++y) {
      auto row = top + y * step[0];
      if (row < 0 || row >= windows.height) continue;
      auto* target = to + (c * windows.height + row) * windows.width;
      auto* source = from + (c * h + y) * w;
      if (step[1] == 1) {
        auto first = std::max<int64_t>(0, -left), last = std::min(w, windows.width - left);
        if (first < last) copy_row<C>(source + first, last - first, target + left + first);
      } else {
        for (int64_t x = 0; x < w; ++x) {
          auto column = left + x * step[1];
          if (column >= 0 && column < windows.width) target[column] = static_cast<C>(source[x]);
        }
      }
    }
  }
}

/// to[i] = from[i * step].
template <class C, class T>
void copy_apart(const T* from, int64_t count, int64_t step, C* to) {
  if (step == 2) {  // which compilers know a fast way for
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<C>(from[2 * i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<C>(from[i * step]);
  }
}

/// pad_image for windows of column phases; element (y, x) goes to (top + y, left + x).
template <class C, class T>
void pad_image_phases(const T* from, int64_t h, int64_t w, C* to, const Windows& windows, int64_t top, int64_t left) {
  auto step = windows.column_phases;
  std::fill_n(to, windows.image_size(), C(0));
  for (int64_t c = 0; c < windows.channels; ++c) {
    for (int64_t phase = 0; phase < windows.phases(); ++phase) {
      auto* plane = to + (c * windows.phases() + phase) * windows.height * windows.width;
      auto first = ((phase - left) % step + step) % step, place = (left + first) / step;
      auto count = std::min((w - first + step - 1) / step, windows.width - place);
      for (int64_t y = 0; y < std::min(h, windows.height - top); ++y)
        copy_apart(from + (c * h + y) * w + first, count, step, plane + (top + y) * windows.width + place);
    }
  }
}

/// A run of neighbouring windows: in one row of one image.
struct WindowRun {
  int64_t source;  ///< offset of the first one's origin from the first padded image
  int64_t at, count;
};

/// The runs that make up windows [first, first + count) of consecutive images.
inline int window_runs(const Windows& windows, int64_t first, int64_t count, WindowRun* runs) {
  int used = 0;
  for (int64_t at = 0; at < count;) {
    auto pixel = (first + at) % windows.pixels(), image = (first + at) / windows.pixels();
    auto row = pixel / windows.ow, column = pixel % windows.ow;
    auto run = std::min(windows.ow - column, count - at);
    runs[used++] = {image * windows.image_size() + row * windows.stride[0] * windows.width + column * windows.stride[1],
                    at, run};
    at += run;
  }
  return used;
}

/// to[i] = from[i * step] for i < count, with no number read or written beyond.
template <class C>
GRADUS_INLINE void copy_run(const C* from, int64_t count, int64_t step, C* to) {
  constexpr int lanes = GemmTile<C>::lanes;
  int64_t i = 0;
  if (step == 1) {
    for (; i + lanes <= count; i += lanes) std::memcpy(to + i, from + i, lanes * sizeof(C));
    if (i < count && count >= lanes) {  // the last register ends where the run does
      std::memcpy(to + count - lanes, from + count - lanes, lanes * sizeof(C));
      return;
    }
    for (; i + 4 <= count; i += 4) std::memcpy(to + i, from + i, 4 * sizeof(C));
  }
  for (; i < count; ++i) to[i] = from[i * step];
}

/// A register of the numbers at from[0], from[2] ...
template <class C, size_t... Lane>
GRADUS_INLINE void copy_even_lanes(const C* from, C* to, std::index_sequence<Lane...>) {
  using V = typename VectorOf<C, sizeof...(Lane)>::in_memory;
  auto low = *reinterpret_cast<const V*>(from), high = *reinterpret_cast<const V*>(from + sizeof...(Lane));
  *reinterpret_cast<V*>(to) = __builtin_shufflevector(low, high, static_cast<int>(2 * Lane)...);
}
template <class C>
GRADUS_INLINE void copy_every_second(const C* from, C* to) {
  copy_even_lanes(from, to, std::make_index_sequence<GemmTile<C>::lanes>());
}

/// Packs columns [first, first + count) (windows), k in [k0, k0 + depth), as a panel of B. With slack, numbers beyond
/// the images may be read.
template <class C>
void pack_windows(const Windows& windows, const C* images, int64_t first, int64_t count, int64_t k0, int64_t depth,
                  bool slack, C* to) {
  constexpr int lanes = GemmTile<C>::lanes;
  WindowRun runs[GemmTile<C>::columns];
  auto used = window_runs(windows, first, count, runs);
  int64_t padded = column_registers<C>(count) * lanes;
  auto step = windows.stride[1];
  // Whole registers may write beyond a run, but not beyond the panel; what comes next overwrites it.
  auto in_registers =
      slack && step <= 2 && runs[used - 1].at + (runs[used - 1].count + lanes - 1) / lanes * lanes <= padded;
  auto column = k0 % windows.kw, row = k0 / windows.kw % windows.kh, channel = k0 / (windows.kw * windows.kh);
  for (int64_t k = 0; k < depth; ++k, to += padded) {
    auto* source =
        images + (channel * windows.height + row * windows.dilation[0]) * windows.width + column * windows.dilation[1];
    if (++column == windows.kw) {
      column = 0;
      if (++row == windows.kh) row = 0, ++channel;
    }
    for (int r = 0; r < used; ++r) {
      auto* from = source + runs[r].source;
      auto* target = to + runs[r].at;
      if (in_registers && step == 1) {
        for (int64_t i = 0; i < runs[r].count; i += lanes) std::memcpy(target + i, from + i, lanes * sizeof(C));
      } else if (in_registers) {
        for (int64_t i = 0; i < runs[r].count; i += lanes) copy_every_second(from + 2 * i, target + i);
      } else {
        copy_run(from, runs[r].count, step, target);
      }
    }
    std::fill(to + count, to + padded, C(0));
  }
}

/// Packs rows of B that are the windows of `runs`, one column apart, and columns j0 ... that are elements of the
/// window: the operand of the weights' gradient, read across the image and written transposed.
template <class C>
void pack_windows_transposed(const Windows& windows, const C* image, const WindowRun* runs, int used, int64_t j0,
                             int64_t width, C* to, int64_t padded) {
  constexpr int lanes = GemmTile<C>::lanes;
  for (int64_t j = 0; j < padded; j += lanes) {
    const C* sources[lanes];  // beyond the width any readable place: those columns are not used
    for (int64_t i = 0; i < lanes; ++i) sources[i] = image + windows.offset(j0 + std::min(j + i, width - 1));
    for (int r = 0; r < used; ++r) {
      auto& run = runs[r];
      int64_t q = 0;
      for (; q + lanes <= run.count; q += lanes)
        transpose_rows(sources, run.source + q, to + (run.at + q) * padded + j, padded, lanes);
      if (q < run.count) transpose_rows(sources, run.source + q, to + (run.at + q) * padded + j, padded, run.count - q);
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
