// 2-D convolution on the CPU, by the method that suits its sizes: Winograd's for most of 3 x 3, one for single
// channels, and else implicit matrix products: windows are packed straight from a zero-padded copy of a few images, so
// no matrix of all windows is ever made.
//
// Forward and the gradient of the input are the same product, of weights and windows; the gradient of the weights
// is output gradients times windows, summed in at most 32 parts. bf16 is multiplied in pairs where the processor can.
#pragma once

#include <array>
#include <functional>

#include "gradus/device/cpu/conv_shape.hpp"
#include "gradus/device/cpu/correlate.hpp"
#include "gradus/device/cpu/depthwise.hpp"
#include "gradus/device/cpu/winograd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Whether Winograd's method has the convolution, and is faster: than products of bf16 too, though it computes in
/// float.
inline bool takes_winograd(const ConvShape& s) {
  using Pair = std::array<int64_t, 2>;
  return s.n > 0 && s.kh == 3 && s.kw == 3 && s.stride == Pair{1, 1} && s.dilation == Pair{1, 1} && s.groups == 1 &&
         s.padding[0] <= 2 && s.padding[1] <= 2 && winograd_pays(s.c_in, s.c_out, s.oh(), s.ow()) &&
         winograd_pays(s.c_out, s.c_in, s.h, s.w);
}

/// Whether images have tiles enough to pay for the transforms of the kernels, which take the longer the less of them a
/// cache holds; those of dw are small beside its sums.
inline bool has_many_tiles(const ConvShape& s, int64_t height, int64_t width) {
  return s.n * ((height + 3) / 4) * ((width + 3) / 4) >= std::min<int64_t>(16, s.c_in * s.c_out / 2048);
}

template <class C, class T>
void winograd_forward(const ConvShape& s, const T* x, const T* w, const T* bias, Rectifier rectifier, T* y) {
  winograd_correlate<C, T>({s.n, s.c_in, s.h, s.w, s.c_out, s.oh(), s.ow(), s.padding[0], s.padding[1]},
                           {.data = w, .out_stride = s.c_in * 9, .in_stride = 9, .flipped = false}, x, bias, rectifier,
                           y);
}
template <class C, class T>
void winograd_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  winograd_correlate<C, T>({s.n, s.c_out, s.oh(), s.ow(), s.c_in, s.h, s.w, 2 - s.padding[0], 2 - s.padding[1]},
                           {.data = w, .out_stride = 9, .in_stride = s.c_in * 9, .flipped = true}, dy, nullptr,
                           Rectifier::none, dx);
}
template <class C, class T>
void winograd_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  winograd_weight_gradient<C, T>({s.n, s.c_in, s.h, s.w, s.c_out, s.oh(), s.ow(), s.padding[0], s.padding[1]}, x, dy,
                                 dw);
}

/// A convolution of one pixel is the same over images of one row, which are read in longer runs.
inline ConvShape in_one_row(const ConvShape& shape) {
  using Pair = std::array<int64_t, 2>;
  auto s = shape;
  if (s.kh * s.kw == 1 && s.stride == Pair{1, 1} && s.padding == Pair{0, 0}) s.w *= s.h, s.h = 1;
  return s;
}

/// pad_image of units.
template <class C, class T>
void pad_units(const T* from, int64_t channels, int64_t h, int64_t w, C* to, const Windows& windows, int64_t top,
               int64_t left, const std::array<int64_t, 2>& step) {
  if constexpr (std::is_same_v<C, int32_t>) pad_channel_pairs(from, channels, h, w, to, windows, top, left, step);
  else pad_image(from, h, w, to, windows, top, left, step);
}

/// y = x * w + bias (which may be null), rectified, by products of windows.
template <class T>
void conv2d_forward_by_windows(const ConvShape& shape, const T* x, const T* w, const T* bias, Rectifier rectifier,
                               T* y) {
  using C = ConvUnit<T>;
  auto s = in_one_row(shape);
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, pixels = s.oh() * s.ow(), kernel = s.kh * s.kw;
  auto units = (c + unit_channels<C> - 1) / unit_channels<C>;
  Windows windows{units,     s.h + 2 * s.padding[0], s.w + 2 * s.padding[1], s.kh, s.kw, s.oh(), s.ow(), s.stride,
                  s.dilation};
  auto plain = kernel == 1 && windows.height == s.oh() && windows.width == s.ow() && s.groups == 1;
  Scratch<KernelRun> runs(in_pairs<C> ? kernel : 0);
  if (in_pairs<C>) kernel_runs(kernel, std::identity(), runs.data());
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* weights = w + g * co * c * kernel;
    DenseImages<T> dense;
    if (plain && (std::is_same_v<C, T> || in_pairs<C>)) dense = {x, c};
    correlate<C, T>(
        windows, s.n, co,
        [&](int64_t row, int64_t count, C* to) {
          auto k = c * kernel;
          if constexpr (in_pairs<C>) {
            pack_kernel_pairs(weights + row * k, k, count, kernel, c, kernel, runs.data(), kernel, to);
          } else {
            constexpr int64_t tile = GemmTile<C>::rows;
            parallel_for(
                (count + tile - 1) / tile, std::max<int64_t>(1, 16384 / (k * tile)), [&](int64_t first, int64_t last) {
                  for (auto i = first * tile; i < std::min(count, last * tile); i += tile)
                    pack_panel(weights + (row + i) * k, k, 1, std::min(tile, count - i), k, to + i * k, tile, tile);
                });
          }
        },
        [&](int64_t image, C* to) {
          pad_units<C>(x + (image * s.c_in + g * c) * s.h * s.w, c, s.h, s.w, to, windows, s.padding[0], s.padding[1],
                       {1, 1});
        },
        dense, bias != nullptr ? bias + g * co : nullptr, rectifier,
        ConvResults<T>{y + g * co * pixels, s.c_out * pixels, pixels, windows.ow, 1});
  }
}

/// Along one direction, the pixels of dx whose distance is a multiple of the stride and which meet the same taps of the
/// kernel: pixel = first + i * step takes taps last_tap, last_tap - tap_step ..., `taps` of them, from neighbouring
/// places of dy that begin at `place` + i.
struct ConvPhase {
  int64_t first, count, step, last_tap, taps, tap_step, place;

  /// Phase `index` of a kernel without dilation.
  ConvPhase(int64_t index, int64_t size, int64_t kernel, int64_t stride, int64_t padding)
      : first(index), count((size - index + stride - 1) / stride), step(stride), tap_step(stride) {
    auto lowest = (index + padding) % stride;
    taps = lowest < kernel ? (kernel - 1 - lowest) / stride + 1 : 0;
    last_tap = lowest + (taps - 1) * stride;
    place = (index + padding - lowest) / stride - (taps - 1);
  }
};

/// Panels of A(channel in, (channel out, flipped kernel)), of the taps that a phase meets; channels out lie out_stride
/// apart.
template <class C, class T>
void pack_flipped_weights(const T* weights, int64_t c_out, int64_t out_stride, int64_t c_in, const ConvShape& s,
                          const ConvPhase& rows, const ConvPhase& columns, C* to) {
  constexpr int64_t tile = GemmTile<C>::rows;
  auto kernel = s.kh * s.kw, taps = rows.taps * columns.taps, k = c_out * taps;
  parallel_for(c_out, std::max<int64_t>(1, 16384 / (c_in * taps)), [&](int64_t first, int64_t last) {
    for (auto channel = first; channel < last; ++channel) {
      for (int64_t i = 0; i < c_in; i += tile) {
        auto* from = weights + channel * out_stride + i * kernel;
        auto* panel = to + i * k + channel * taps * tile;
        auto count = std::min(tile, c_in - i);
        if (taps == kernel) {  // all, from the last to the first
          pack_panel(from, kernel, 1, count, kernel, panel + (taps - 1) * tile, -tile, tile);
          continue;
        }
        for (int64_t a = 0; a < rows.taps; ++a) {
          for (int64_t b = 0; b < columns.taps; ++b, panel += tile) {
            auto* tap = from + (rows.last_tap - a * rows.tap_step) * s.kw + columns.last_tap - b * columns.tap_step;
            for (int64_t r = 0; r < tile; ++r) panel[r] = r < count ? static_cast<C>(tap[r * kernel]) : C(0);
          }
        }
      }
    }
  });
}

/// dx from dy: the same product, of flipped weights and windows over dy. With a stride, once for each phase of its
/// pixels, with the part of the kernel that they meet; with dilation, too, over dy with zeros between its pixels.
template <class T>
void conv2d_backward_input_by_windows(const ConvShape& shape, const T* dy, const T* w, T* dx) {
  using C = ConvUnit<T>;
  auto s = in_one_row(shape);
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), ow = s.ow(), kernel = s.kh * s.kw;
  auto by_phases = s.dilation == std::array<int64_t, 2>{1, 1};
  std::array<int64_t, 2> phases{by_phases ? std::min(s.stride[0], s.h) : 1, by_phases ? std::min(s.stride[1], s.w) : 1};
  if (by_phases && (s.kh < s.stride[0] || s.kw < s.stride[1])) {  // some pixels meet no weight
    parallel_for(s.n * s.c_in * s.h * s.w, 65536,
                 [&](int64_t first, int64_t last) { std::fill(dx + first, dx + last, T(0)); });
  }
  for (int64_t index = 0; index < phases[0] * phases[1]; ++index) {
    ConvPhase rows(index / phases[1], s.h, s.kh, s.stride[0], s.padding[0]);
    ConvPhase columns(index % phases[1], s.w, s.kw, s.stride[1], s.padding[1]);
    if (!by_phases) {
      auto reach_h = s.dilation[0] * (s.kh - 1), reach_w = s.dilation[1] * (s.kw - 1);
      rows.first = columns.first = 0, rows.count = s.h, columns.count = s.w, rows.step = columns.step = 1;
      rows.last_tap = s.kh - 1, columns.last_tap = s.kw - 1, rows.taps = s.kh, columns.taps = s.kw;
      rows.tap_step = columns.tap_step = 1, rows.place = s.padding[0] - reach_h, columns.place = s.padding[1] - reach_w;
    }
    Windows windows{(co + unit_channels<C> - 1) / unit_channels<C>,
                    rows.count + s.dilation[0] * (rows.taps - 1),
                    columns.count + s.dilation[1] * (columns.taps - 1),
                    rows.taps,
                    columns.taps,
                    rows.count,
                    columns.count,
                    {1, 1},
                    s.dilation};
    auto taps = rows.taps * columns.taps;
    auto position = [&](int64_t i) {
      auto row = rows.last_tap - i / columns.taps * rows.tap_step;
      return row * s.kw + columns.last_tap - i % columns.taps * columns.tap_step;
    };
    Scratch<KernelRun> runs(in_pairs<C> ? taps : 0);
    if (in_pairs<C>) kernel_runs(taps, position, runs.data());
    for (int64_t g = 0; g < s.groups; ++g) {
      auto* weights = w + g * co * c * kernel;
      auto* results = dx + g * c * s.h * s.w + rows.first * s.w + columns.first;
      ConvResults<T> to{results, s.c_in * s.h * s.w, s.h * s.w, rows.step * s.w, columns.step};
      if (taps == 0) continue;
      auto plain = taps == 1 && windows.height == oh && windows.width == ow && rows.place == 0 && columns.place == 0 &&
                   s.groups == 1;
      DenseImages<T> dense;
      if (plain && (std::is_same_v<C, T> || in_pairs<C>)) dense = {dy, co};
      correlate<C, T>(
          windows, s.n, c,
          [&](int64_t first, int64_t count, C* panels) {
            auto* part = weights + first * kernel;
            if constexpr (in_pairs<C>) {
              pack_kernel_pairs(part, kernel, count, c * kernel, co, kernel, runs.data(), taps, panels);
            } else {
              pack_flipped_weights(part, co, c * kernel, count, s, rows, columns, panels);
            }
          },
          [&](int64_t image, C* padded) {
            pad_units<C>(dy + (image * s.c_out + g * co) * oh * ow, co, oh, ow, padded, windows, -rows.place,
                         -columns.place, by_phases ? std::array<int64_t, 2>{1, 1} : s.stride);
          },
          dense, static_cast<const T*>(nullptr), Rectifier::none, to);
    }
  }
}

/// to[i] = the sum of `parts` arrays of n numbers that lie one behind another; the first one is overwritten.
template <class C, class T>
void add_parts(C* partial, int64_t parts, int64_t n, T* to) {
  parallel_for(n, 8192, [&](int64_t first, int64_t last) {
    for (int64_t part = 1; part < parts; ++part) {
      auto* more = partial + part * n;
      for (auto i = first; i < last; ++i) partial[i] += more[i];
    }
    write_row(partial + first, last - first, C(0), static_cast<const T*>(nullptr), false, to + first);
  });
}

/// How the gradient of weights (rows, columns) is cut into chunks: what is summed into parts, and groups of rows and
/// columns where these are too few.
template <class P>
struct WeightGradientPlan {
  using Tile = GemmTile<P>;
  using Plan = GemmPlan<P>;
  int64_t parts, column_groups, group_columns, row_groups, group_rows;

  WeightGradientPlan(int64_t rows, int64_t columns, int64_t summed) {
    parts = std::clamp<int64_t>(summed / 512, 1, rows * columns > 512 * 1024 ? 4 : 32);
    column_groups = std::max(Plan::ceil_div(8, parts), Plan::ceil_div(columns, 16 * Tile::columns));
    group_columns = Plan::round_up(Plan::ceil_div(columns, column_groups), Tile::columns);
    column_groups = Plan::ceil_div(columns, group_columns);
    row_groups = std::clamp<int64_t>(Plan::ceil_div(8, parts * column_groups), 1, Plan::ceil_div(rows, 4 * Tile::rows));
    group_rows = Plan::round_up(Plan::ceil_div(rows, row_groups), Tile::rows);
    row_groups = Plan::ceil_div(rows, group_rows);
  }
  int64_t chunks() const { return parts * column_groups * row_groups; }
};

/// dw = sum over images and windows of dy times window. Of bf16, pairs of neighbouring windows are multiplied; rows of
/// an odd number of them get one more, with gradients of 0.
template <class T>
void conv2d_backward_weight_by_windows(const ConvShape& shape, const T* x, const T* dy, T* dw) {
  using P = Packed<T>;
  using C = Compute<T>;
  using Tile = GemmTile<P>;
  using Plan = GemmPlan<P>;
  auto s = in_one_row(shape);
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), taps = s.kh * s.kw;
  auto ow = packed_depth<P>(s.ow()), pixels = oh * ow;  // whole pairs
  Scratch<T> wide(ow == s.ow() ? 0 : s.n * s.c_out * pixels);
  if (ow != s.ow()) {
    parallel_for(s.n * s.c_out * oh, std::max<int64_t>(1, 16384 / ow), [&](int64_t first, int64_t last) {
      for (auto row = first; row < last; ++row)
        std::fill(std::copy_n(dy + row * s.ow(), s.ow(), wide.data() + row * ow), wide.data() + (row + 1) * ow, T());
    });
    dy = wide.data();
  }
  auto width = std::max(s.w + 2 * s.padding[1], (ow - 1) * s.stride[1] + s.dilation[1] * (s.kw - 1) + 1);
  auto columns = c * taps, all = s.n * pixels;  // of dw, for each of its co rows; what is summed
  WeightGradientPlan<P> plan(co, columns, all);
  constexpr int64_t block = 192 * 4 / sizeof(P);  // of the sum
  Scratch<C> partial(plan.parts > 1 ? plan.parts * co * columns : 0);
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* to = dw + g * co * columns;
    parallel_chunks(plan.chunks(), [&](int64_t chunk) {
      auto part = chunk % plan.parts, j0 = chunk / plan.parts % plan.column_groups * plan.group_columns;
      auto i0 = chunk / (plan.parts * plan.column_groups) * plan.group_rows;
      auto wanted = std::min(plan.group_columns, columns - j0), height = std::min(plan.group_rows, co - i0);
      auto first_channel = j0 / taps, channels = (j0 + wanted - 1) / taps + 1 - first_channel;
      Windows windows{channels,
                      s.h + 2 * s.padding[0],
                      Plan::ceil_div(width, s.stride[1]),
                      s.kh,
                      s.kw,
                      oh,
                      ow,
                      {s.stride[0], 1},
                      s.dilation,
                      s.stride[1]};
      auto ld = Plan::round_up(wanted, Tile::lanes), padded_rows = Plan::round_up(height, Tile::rows);
      auto most_images = std::min(s.n, Plan::ceil_div(block, pixels) + 1);
      Scratch<C> sums(padded_rows * ld);
      Scratch<P> padded(most_images * windows.image_size() + Windows::slack);
      Scratch<P> a(block * padded_rows), b(block * Tile::columns);
      std::fill_n(sums.data(), padded_rows * ld, C(0));
      int64_t images_from = 0, images_to = 0;  // in `padded`
      auto bound = [&](int64_t i) { return all * i / plan.parts / Tile::steps * Tile::steps; };
      for (auto p0 = bound(part); p0 < bound(part + 1); p0 += block) {
        auto depth = std::min(block, bound(part + 1) - p0);
        auto first_image = p0 / pixels, last_image = (p0 + depth - 1) / pixels + 1;
        if (first_image != images_from || last_image > images_to) {
          for (auto image = first_image; image < last_image; ++image) {
            auto* from = x + (image * s.c_in + g * c + first_channel) * s.h * s.w;
            auto* copy = padded.data() + (image - first_image) * windows.image_size();
            if (s.stride[1] > 1) pad_image_phases(from, s.h, s.w, copy, windows, s.padding[0], s.padding[1]);
            else pad_image(from, s.h, s.w, copy, windows, s.padding[0], s.padding[1], {1, 1});
          }
          images_from = first_image, images_to = last_image;
        }
        for (int64_t i = 0; i < height; i += Tile::rows) {
          for (int64_t k = 0; k < depth;) {
            auto image = (p0 + k) / pixels, pixel = (p0 + k) % pixels, run = std::min(pixels - pixel, depth - k);
            pack_panel(dy + (image * s.c_out + g * co + i0 + i) * pixels + pixel, pixels, 1,
                       std::min<int64_t>(Tile::rows, height - i), run, a.data() + i * depth + k * Tile::rows,
                       Tile::rows, Tile::rows);
            k += run;
          }
        }
        WindowRun runs[block];
        auto used = window_runs(windows, p0 - first_image * pixels, depth, runs);
        for (int64_t j = 0; j < wanted; j += Tile::columns) {
          auto panel_width = std::min<int64_t>(Tile::columns, wanted - j);
          auto registers = column_registers<P>(panel_width);
          pack_windows_transposed(windows, padded.data(), runs, used, j0 - first_channel * taps + j, panel_width,
                                  b.data(), registers * Tile::lanes);
          for (int64_t i = 0; i < height; i += Tile::rows) {
            gemm_tile<P>(registers, depth, a.data() + i * depth, b.data(), sums.data() + i * ld + j, ld, true);
          }
        }
      }
      for (int64_t i = 0; i < height; ++i) {
        auto at = (i0 + i) * columns + j0;
        if (plan.parts > 1) std::copy_n(sums.data() + i * ld, wanted, partial.data() + part * co * columns + at);
        else write_row(sums.data() + i * ld, wanted, C(0), static_cast<const T*>(nullptr), false, to + at);
      }
    });
    if (plan.parts > 1) add_parts(partial.data(), plan.parts, co * columns, to);
  }
}

/// y = x * w + bias (which may be null), rectified.
template <class T>
void convolve(const ConvShape& s, const T* x, const T* w, const T* bias, Rectifier rectifier, T* y) {
  if (is_depthwise(s)) return depthwise_forward<Compute<T>, T>(s, x, w, bias, rectifier, y);
  if (takes_winograd(s) && has_many_tiles(s, s.oh(), s.ow()))
    return winograd_forward<Compute<T>, T>(s, x, w, bias, rectifier, y);
  conv2d_forward_by_windows<T>(s, x, w, bias, rectifier, y);
}
template <class T>
void convolve_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  if (is_depthwise(s)) return depthwise_backward_input<Compute<T>, T>(s, dy, w, dx);
  if (takes_winograd(s) && has_many_tiles(s, s.h, s.w)) return winograd_backward_input<Compute<T>, T>(s, dy, w, dx);
  conv2d_backward_input_by_windows<T>(s, dy, w, dx);
}
template <class T>
void convolve_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  if (is_depthwise(s)) return depthwise_backward_weight<Compute<T>, T>(s, x, dy, dw);
  if (takes_winograd(s)) return winograd_backward_weight<Compute<T>, T>(s, x, dy, dw);
  conv2d_backward_weight_by_windows<T>(s, x, dy, dw);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
