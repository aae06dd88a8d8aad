// 2-D convolution on the CPU as implicit matrix products: windows are packed straight from a zero-padded copy of a
// few images, so no matrix of all windows is ever made.
//
// Forward and the gradient of the input are the same product, of weights and windows; the gradient of the weights
// is output gradients times windows, summed over images in at most 32 parts.
#pragma once

#include <array>

#include "gradus/device/cpu/conv_shape.hpp"
#include "gradus/device/cpu/depthwise.hpp"
#include "gradus/device/cpu/gemm.hpp"
#include "gradus/device/cpu/winograd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Windows of `kh` x `kw` over a padded image of `channels` channels; `oh` x `ow` of them.
struct Windows {
  int64_t channels, height, width;  ///< of the padded image
  int64_t kh, kw, oh, ow;
  std::array<int64_t, 2> stride, dilation;

  static constexpr int64_t slack = 64;  ///< elements that may be read beyond the last image
  int64_t image_size() const { return channels * height * width; }
  int64_t depth() const { return channels * kh * kw; }
  int64_t pixels() const { return oh * ow; }
  /// Where element `k` = (channel, row, column) of the window at the origin lies in the padded image.
  int64_t offset(int64_t k) const {
    auto column = k % kw, row = k / kw % kh, channel = k / (kw * kh);
    return (channel * height + row * dilation[0]) * width + column * dilation[1];
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

/// Packs columns [first, first + count) (windows), k in [k0, k0 + depth), as a panel of B.
template <class C>
void pack_windows(const Windows& windows, const C* images, int64_t first, int64_t count, int64_t k0, int64_t depth,
                  C* to) {
  constexpr int lanes = GemmTile<C>::lanes;
  WindowRun runs[GemmTile<C>::columns];
  auto used = window_runs(windows, first, count, runs);
  int64_t padded = column_registers<C>(count) * lanes;
  auto step = windows.stride[1];
  // Whole registers may write beyond a run, but not beyond the panel; what comes next overwrites it.
  auto in_registers = step == 1 && runs[used - 1].at + (runs[used - 1].count + lanes - 1) / lanes * lanes <= padded;
  for (int64_t k = 0; k < depth; ++k, to += padded) {
    auto* source = images + windows.offset(k0 + k);
    for (int r = 0; r < used; ++r) {
      auto* from = source + runs[r].source;
      auto* target = to + runs[r].at;
      if (in_registers) {
        for (int64_t i = 0; i < runs[r].count; i += lanes) std::memcpy(target + i, from + i, lanes * sizeof(C));
      } else {
        for (int64_t i = 0; i < runs[r].count; ++i) target[i] = from[i * step];
      }
    }
    std::fill(to + count, to + padded, C(0));
  }
}

/// Packs rows of B that are the windows of `runs` and columns j0 ... that are elements of the window: the operand of
/// the weights' gradient, read across the image and written transposed.
template <class C>
void pack_windows_transposed(const Windows& windows, const C* image, const WindowRun* runs, int used, int64_t j0,
                             int64_t width, C* to, int64_t padded) {
  constexpr int lanes = GemmTile<C>::lanes;
  auto step = windows.stride[1];
  for (int64_t j = 0; j < padded; j += lanes) {
    const C* sources[lanes];  // beyond the width any readable place: those columns are not used
    for (int64_t i = 0; i < lanes; ++i) sources[i] = image + windows.offset(j0 + std::min(j + i, width - 1));
    for (int r = 0; r < used; ++r) {
      auto& run = runs[r];
      int64_t q = 0;
      if (step == 1) {
        for (; q + lanes <= run.count; q += lanes)
          transpose_rows(sources, run.source + q, to + (run.at + q) * padded + j, padded, lanes);
        if (q < run.count)
          transpose_rows(sources, run.source + q, to + (run.at + q) * padded + j, padded, run.count - q);
        continue;
      }
      for (; q < run.count; ++q) {
        for (int64_t i = 0; i < lanes; ++i) to[(run.at + q) * padded + j + i] = sources[i][run.source + q * step];
      }
    }
  }
}

/// y[i][p] = sum over k of weight(i, k) * window k at p: the product behind forward and input gradient, for one
/// group of channels. pack_weights(first, rows, to) packs a panel of A; pad(image, to) makes an image's padded copy;
/// the result of image `i`, row `r` goes to out + i * image_stride + r * pixels, plus bias[r].
template <class C, class T>
void correlate(const Windows& windows, int64_t images, int64_t rows,
               FunctionRef<void(int64_t first, int64_t rows, C* to)> pack_weights,
               FunctionRef<void(int64_t image, C* to)> pad, const T* bias, T* out, int64_t image_stride) {
  if (images == 0) return;
  using Tile = GemmTile<C>;
  auto k = windows.depth(), pixels = windows.pixels();
  auto padded_rows = GemmPlan<C>::round_up(rows, Tile::rows);
  Scratch<C> weights(padded_rows * k);
  parallel_for(padded_rows / Tile::rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(k * Tile::rows, 1)),
               [&](int64_t first, int64_t last) {
                 for (auto i = first * Tile::rows; i < last * Tile::rows; i += Tile::rows) {
                   pack_weights(i, std::min<int64_t>(Tile::rows, rows - i), weights.data() + i * k);
                 }
               });
  // A chunk is a few small images, or a stretch of a large one.
  auto images_per_chunk =
      std::clamp<int64_t>(4 * Tile::columns / std::max<int64_t>(pixels, 1), 1, std::max<int64_t>(1, images / 8));
  auto stretches = images_per_chunk > 1 || images >= 8
                       ? 1
                       : std::max<int64_t>(1, std::min<int64_t>(16 / images, pixels / (8 * Tile::columns)));
  auto stretch = GemmPlan<C>::round_up(GemmPlan<C>::ceil_div(images_per_chunk * pixels, stretches), Tile::columns);
  auto image_chunks = GemmPlan<C>::ceil_div(images, images_per_chunk);
  constexpr int64_t group = 4 * Tile::columns;
  parallel_chunks(image_chunks * stretches, [&](int64_t chunk) {
    auto first_image = chunk / stretches * images_per_chunk;
    auto count = std::min(images_per_chunk, images - first_image);
    auto begin = chunk % stretches * stretch, end = std::min(count * pixels, begin + stretch);
    if (begin >= end) return;
    Scratch<C> padded(count * windows.image_size() + Windows::slack);
    for (int64_t i = 0; i < count; ++i) pad(first_image + i, padded.data() + i * windows.image_size());
    Scratch<C> b(Tile::depth * group), sums(padded_rows * group);
    for (auto j0 = begin; j0 < end; j0 += group) {
      auto columns = std::min(group, end - j0);
      auto ld = GemmPlan<C>::round_up(columns, Tile::lanes);
      for (int64_t kb = 0; kb < k; kb += Tile::depth) {
        auto depth = std::min<int64_t>(Tile::depth, k - kb);
        for (int64_t j = 0; j < columns; j += Tile::columns) {
          auto width = std::min<int64_t>(Tile::columns, columns - j);
          auto* panel = b.data() + j * depth;
          pack_windows(windows, padded.data(), j0 + j, width, kb, depth, panel);
          for (int64_t i = 0; i < rows; i += Tile::rows) {
            gemm_tile<C>(column_registers<C>(width), depth, weights.data() + i * k + kb * Tile::rows, panel,
                         sums.data() + i * ld + j, ld, kb > 0);
          }
        }
      }
      for (int64_t i = 0; i < rows; ++i) {
        auto value = bias != nullptr ? static_cast<C>(bias[i]) : C(0);
        for (int64_t j = 0; j < columns;) {  // a row of sums may span several images
          auto image = (j0 + j) / pixels, pixel = (j0 + j) % pixels;
          auto run = std::min(pixels - pixel, columns - j);
          auto* to = out + (first_image + image) * image_stride + i * pixels + pixel;
          write_row<C, T>(sums.data() + i * ld + j, run, value, nullptr, false, to);
          j += run;
        }
      }
    }
  });
}

/// Whether Winograd's method has the convolution, and is faster.
inline bool takes_winograd(const ConvShape& s) {
  using Pair = std::array<int64_t, 2>;
  return s.n > 0 && s.kh == 3 && s.kw == 3 && s.stride == Pair{1, 1} && s.dilation == Pair{1, 1} && s.groups == 1 &&
         s.padding[0] <= 2 && s.padding[1] <= 2 && winograd_pays(s.c_in, s.c_out, s.oh(), s.ow()) &&
         winograd_pays(s.c_out, s.c_in, s.h, s.w);
}

/// y = x * w + bias (which may be null).
template <class T>
void conv2d_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  using C = Compute<T>;
  if (is_depthwise(s)) return depthwise_forward<C, T>(s, x, w, bias, y);
  if (takes_winograd(s)) {
    return winograd_correlate<C, T>({s.n, s.c_in, s.h, s.w, s.c_out, s.oh(), s.ow(), s.padding[0], s.padding[1]},
                                    {.data = w, .out_stride = s.c_in * 9, .in_stride = 9, .flipped = false}, x, bias,
                                    y);
  }
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, pixels = s.oh() * s.ow();
  Windows windows{c, s.h + 2 * s.padding[0], s.w + 2 * s.padding[1], s.kh, s.kw, s.oh(), s.ow(), s.stride, s.dilation};
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* weights = w + g * co * windows.depth();
    correlate<C, T>(
        windows, s.n, co,
        [&](int64_t i, int64_t rows, C* to) {
          pack_panel(weights + i * windows.depth(), windows.depth(), 1, rows, windows.depth(), to, GemmTile<C>::rows,
                     GemmTile<C>::rows);
        },
        [&](int64_t image, C* to) {
          pad_image(x + (image * s.c_in + g * c) * s.h * s.w, s.h, s.w, to, windows, s.padding[0], s.padding[1],
                    {1, 1});
        },
        bias != nullptr ? bias + g * co : nullptr, y + g * co * pixels, s.c_out * pixels);
  }
}

/// dx from dy: the same product, of flipped weights and windows over dy with zeros between its rows and columns.
template <class T>
void conv2d_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  using C = Compute<T>;
  if (is_depthwise(s)) return depthwise_backward_input<C, T>(s, dy, w, dx);
  if (takes_winograd(s)) {
    return winograd_correlate<C, T>(
        {s.n, s.c_out, s.oh(), s.ow(), s.c_in, s.h, s.w, 2 - s.padding[0], 2 - s.padding[1]},
        {.data = w, .out_stride = 9, .in_stride = s.c_in * 9, .flipped = true}, dy, nullptr, dx);
  }
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), ow = s.ow();
  auto reach_h = s.dilation[0] * (s.kh - 1), reach_w = s.dilation[1] * (s.kw - 1);
  Windows windows{co, s.h + reach_h, s.w + reach_w, s.kh, s.kw, s.h, s.w, {1, 1}, s.dilation};
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* weights = w + g * co * c * s.kh * s.kw;
    correlate<C, T>(
        windows, s.n, c,
        [&](int64_t i, int64_t rows, C* to) {  // A(channel in, (channel out, flipped kernel))
          for (int64_t k = 0; k < windows.depth(); ++k) {
            auto position = k % (s.kh * s.kw), channel = k / (s.kh * s.kw);
            auto* from = weights + channel * c * s.kh * s.kw + s.kh * s.kw - 1 - position;
            for (int64_t r = 0; r < GemmTile<C>::rows; ++r) {
              to[k * GemmTile<C>::rows + r] = r < rows ? static_cast<C>(from[(i + r) * s.kh * s.kw]) : C(0);
            }
          }
        },
        [&](int64_t image, C* to) {
          pad_image(dy + (image * s.c_out + g * co) * oh * ow, oh, ow, to, windows, reach_h - s.padding[0],
                    reach_w - s.padding[1], s.stride);
        },
        static_cast<const T*>(nullptr), dx + g * c * s.h * s.w, s.c_in * s.h * s.w);
  }
}

/// dw = sum over images and windows of dy times window.
template <class T>
void conv2d_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  using C = Compute<T>;
  if (is_depthwise(s)) return depthwise_backward_weight<C, T>(s, x, dy, dw);
  if (takes_winograd(s)) {
    return winograd_weight_gradient<C, T>({s.n, s.c_in, s.h, s.w, s.c_out, s.oh(), s.ow(), s.padding[0], s.padding[1]},
                                          x, dy, dw);
  }
  using Tile = GemmTile<C>;
  constexpr int lanes = Tile::lanes;
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, pixels = s.oh() * s.ow();
  Windows windows{c, s.h + 2 * s.padding[0], s.w + 2 * s.padding[1], s.kh, s.kw, s.oh(), s.ow(), s.stride, s.dilation};
  auto columns = windows.depth();  // of dw, for each of its co rows
  for (int64_t g = 0; g < s.groups; ++g) {
    auto parts = std::clamp<int64_t>(s.n, 1, 32),
         group_columns = std::min<int64_t>(GemmPlan<C>::round_up(columns, lanes), 16 * Tile::columns);
    if (co * columns > 512 * 1024) parts = std::min<int64_t>(parts, 4);
    auto column_groups = GemmPlan<C>::ceil_div(columns, group_columns);
    auto padded_rows = GemmPlan<C>::round_up(co, Tile::rows);
    Scratch<C> partial(parts * co * columns);
    parallel_chunks(parts * column_groups, [&](int64_t chunk) {
      auto part = chunk % parts, j0 = chunk / parts * group_columns, width = std::min(group_columns, columns - j0);
      auto ld = GemmPlan<C>::round_up(width, lanes);
      Scratch<C> sums(padded_rows * ld), padded(windows.image_size() + Windows::slack * s.stride[1]);
      Scratch<C> a(Tile::depth * padded_rows), b(Tile::depth * Tile::columns);
      std::fill_n(sums.data(), padded_rows * ld, C(0));
      for (auto image = s.n * part / parts; image < s.n * (part + 1) / parts; ++image) {
        pad_image(x + (image * s.c_in + g * c) * s.h * s.w, s.h, s.w, padded.data(), windows, s.padding[0],
                  s.padding[1], {1, 1});
        auto* gradients = dy + (image * s.c_out + g * co) * pixels;
        for (int64_t p0 = 0; p0 < pixels; p0 += Tile::depth) {
          auto depth = std::min<int64_t>(Tile::depth, pixels - p0);
          for (int64_t i = 0; i < co; i += Tile::rows) {
            pack_panel(gradients + i * pixels + p0, pixels, 1, std::min<int64_t>(Tile::rows, co - i), depth,
                       a.data() + i * depth, Tile::rows, Tile::rows);
          }
          WindowRun runs[Tile::depth];
          auto used = window_runs(windows, p0, depth, runs);
          for (int64_t j = 0; j < width; j += Tile::columns) {
            auto panel_width = std::min<int64_t>(Tile::columns, width - j);
            auto registers = column_registers<C>(panel_width);
            pack_windows_transposed(windows, padded.data(), runs, used, j0 + j, panel_width, b.data(),
                                    registers * lanes);
            for (int64_t i = 0; i < co; i += Tile::rows) {
              gemm_tile<C>(registers, depth, a.data() + i * depth, b.data(), sums.data() + i * ld + j, ld, true);
            }
          }
        }
      }
      for (int64_t i = 0; i < co; ++i)
        std::copy_n(sums.data() + i * ld, width, partial.data() + (part * co + i) * columns + j0);
    });
    auto* to = dw + g * co * columns;
    parallel_for(co * columns, 8192, [&](int64_t first, int64_t last) {
      for (int64_t part = 1; part < parts; ++part) {
        auto* more = partial.data() + part * co * columns;
        for (auto i = first; i < last; ++i) partial[i] += more[i];
      }
      for (auto i = first; i < last; ++i) to[i] = static_cast<T>(partial[i]);
    });
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
