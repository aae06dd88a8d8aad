// 2-D convolution of bf16 as implicit matrix products of pairs, see gemm_bf16.hpp.
//
// Forward and the gradient of the input: two neighbouring channels lie together in the padded copy of an image, so that
// windows are packed by copying, like those of numbers of four bytes. The gradient of the weights multiplies pairs of
// neighbouring pixels.
#pragma once

#include "gradus/device/cpu/conv.hpp"

#if GRADUS_BF16_PRODUCTS && !defined(GRADUS_COMPILED)  // gradus::compiled has them for all

namespace gradus::detail::inline GRADUS_BUILD {

/// Steps of the depth in a block: a panel of windows stays in the L1 cache.
inline constexpr int64_t conv_depth = 384;

/// Copies an image (channels, h, w) into a zeroed one (channels / 2, height, width) of pairs; a channel without a
/// neighbour gets one of zeros. Places as in pad_image.
inline void pad_channel_pairs(const bf16* from, int64_t channels, int64_t h, int64_t w, int32_t* to,
                              const Windows& windows, int64_t top, int64_t left, const std::array<int64_t, 2>& step) {
  std::fill_n(to, windows.image_size(), 0);
  for (int64_t c = 0; c < channels; c += 2) {
    auto both = c + 1 < channels;
    for (int64_t y = 0; y < h; ++y) {
      auto row = top + y * step[0];
      if (row < 0 || row >= windows.height) continue;
      auto* target = to + (c / 2 * windows.height + row) * windows.width;
      auto* low = from + (c * h + y) * w;
      auto* high = both ? low + h * w : low;
      if (step[1] == 1) {
        auto first = std::max<int64_t>(0, -left), last = std::min(w, windows.width - left);
        for (auto x = first; x < last; x += 16) {
          auto mask = static_cast<__mmask16>(first_lanes<16>(last - x));
          _mm512_mask_storeu_epi32(target + left + x, mask,
                                   interleave(low + x, high + x, mask, both ? mask : __mmask16{0}));
        }
      } else {
        for (int64_t x = 0; x < w; ++x) {
          auto column = left + x * step[1];
          if (column < 0 || column >= windows.width) continue;
          auto upper = both ? static_cast<uint32_t>(high[x].bits) << 16 : 0;
          target[column] = static_cast<int32_t>(upper | low[x].bits);
        }
      }
    }
  }
}

/// Packs `rows` rows of weights for windows of channel pairs: number (channel, position) of row i is
/// from[i * row_stride + channel * channel_stride + position * position_stride].
inline void pack_channel_pairs(const bf16* from, int64_t row_stride, int64_t channel_stride, int64_t position_stride,
                               int64_t rows, int64_t channels, int64_t positions, bf16* to) {
  constexpr int64_t panel = GemmTile<bf16>::rows;
  for (int64_t c = 0; c < channels; c += 2) {
    for (int64_t p = 0; p < positions; ++p, to += 2 * panel) {
      auto* low = from + c * channel_stride + p * position_stride;
      for (int64_t i = 0; i < panel; ++i) {
        to[2 * i] = i < rows ? low[i * row_stride] : bf16();
        to[2 * i + 1] = i < rows && c + 1 < channels ? low[i * row_stride + channel_stride] : bf16();
      }
    }
  }
}

/// correlate, of weights and windows of channel pairs. `windows` counts pairs of channels; pack_weights and pad are
/// called for pairs.
inline void correlate_pairs(const Windows& windows, int64_t images, int64_t rows,
                            FunctionRef<void(int64_t first, int64_t rows, bf16* to)> pack_weights,
                            FunctionRef<void(int64_t image, int32_t* to)> pad, const bf16* bias, bf16* out,
                            int64_t image_stride) {
  if (images == 0) return;
  using Tile = GemmTile<bf16>;
  using Plan = GemmPlan<bf16>;
  constexpr int64_t block = conv_depth / 2;  // pairs
  auto k = windows.depth(), pixels = windows.pixels(), padded_rows = Plan::round_up(rows, Tile::rows);
  Scratch<bf16> weights(2 * padded_rows * k);
  parallel_for(padded_rows / Tile::rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(k * Tile::rows, 1)),
               [&](int64_t first, int64_t last) {
                 for (auto i = first * Tile::rows; i < last * Tile::rows; i += Tile::rows)
                   pack_weights(i, std::min<int64_t>(Tile::rows, rows - i), weights.data() + 2 * i * k);
               });
  // A chunk is a few small images, or a stretch of a large one.
  auto images_per_chunk =
      std::clamp<int64_t>(4 * Tile::columns / std::max<int64_t>(pixels, 1), 1, std::max<int64_t>(1, images / 8));
  auto stretches = images_per_chunk > 1 || images >= 8
                       ? 1
                       : std::max<int64_t>(1, std::min<int64_t>(16 / images, pixels / (8 * Tile::columns)));
  auto stretch = Plan::round_up(Plan::ceil_div(images_per_chunk * pixels, stretches), Tile::columns);
  auto image_chunks = Plan::ceil_div(images, images_per_chunk);
  constexpr int64_t group = 4 * Tile::columns;
  parallel_chunks(image_chunks * stretches, [&](int64_t chunk) {
    auto first_image = chunk / stretches * images_per_chunk;
    auto count = std::min(images_per_chunk, images - first_image);
    auto begin = chunk % stretches * stretch, end = std::min(count * pixels, begin + stretch);
    if (begin >= end) return;
    Scratch<int32_t> padded(count * windows.image_size() + Windows::slack), b(block * group);
    for (int64_t i = 0; i < count; ++i) pad(first_image + i, padded.data() + i * windows.image_size());
    Scratch<float> sums(padded_rows * group);
    for (auto j0 = begin; j0 < end; j0 += group) {
      auto columns = std::min(group, end - j0), ld = Plan::round_up(columns, Tile::lanes);
      for (int64_t kb = 0; kb < k; kb += block) {
        auto depth = std::min(block, k - kb);
        for (int64_t j = 0; j < columns; j += Tile::columns) {
          auto width = std::min<int64_t>(Tile::columns, columns - j);
          auto* panel = b.data() + j * depth;
          pack_windows(windows, padded.data(), j0 + j, width, kb, depth, true, panel);
          for (int64_t i = 0; i < rows; i += Tile::rows) {
            gemm_tile<bf16>(column_registers<bf16>(width), 2 * depth, weights.data() + 2 * (i * k + kb * Tile::rows),
                            reinterpret_cast<const bf16*>(panel), sums.data() + i * ld + j, ld, kb > 0);
          }
        }
      }
      for (int64_t i = 0; i < rows; ++i) {
        auto value = bias != nullptr ? static_cast<float>(bias[i]) : 0.0f;
        for (int64_t j = 0; j < columns;) {  // a row of sums may span several images
          auto image = (j0 + j) / pixels, pixel = (j0 + j) % pixels;
          auto run = std::min(pixels - pixel, columns - j);
          auto* to = out + (first_image + image) * image_stride + i * pixels + pixel;
          write_row<float, bf16>(sums.data() + i * ld + j, run, value, nullptr, false, to);
          j += run;
        }
      }
    }
  });
}

/// conv2d_forward for bf16.
inline void conv2d_forward_pairs(const ConvShape& s, const bf16* x, const bf16* w, const bf16* bias, bf16* y) {
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, pixels = s.oh() * s.ow(), positions = s.kh * s.kw;
  Windows windows{(c + 1) / 2, s.h + 2 * s.padding[0], s.w + 2 * s.padding[1], s.kh, s.kw, s.oh(), s.ow(), s.stride,
                  s.dilation};
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* weights = w + g * co * c * positions;
    correlate_pairs(
        windows, s.n, co,
        [&](int64_t i, int64_t rows, bf16* to) {
          pack_channel_pairs(weights + i * c * positions, c * positions, positions, 1, rows, c, positions, to);
        },
        [&](int64_t image, int32_t* to) {
          pad_channel_pairs(x + (image * s.c_in + g * c) * s.h * s.w, c, s.h, s.w, to, windows, s.padding[0],
                            s.padding[1], {1, 1});
        },
        bias != nullptr ? bias + g * co : nullptr, y + g * co * pixels, s.c_out * pixels);
  }
}

/// conv2d_backward_input for bf16: of flipped weights and windows over dy.
inline void conv2d_backward_input_pairs(const ConvShape& s, const bf16* dy, const bf16* w, bf16* dx) {
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), ow = s.ow(), positions = s.kh * s.kw;
  auto reach_h = s.dilation[0] * (s.kh - 1), reach_w = s.dilation[1] * (s.kw - 1);
  Windows windows{(co + 1) / 2, s.h + reach_h, s.w + reach_w, s.kh, s.kw, s.h, s.w, {1, 1}, s.dilation};
  for (int64_t g = 0; g < s.groups; ++g) {
    auto* weights = w + g * co * c * positions;
    correlate_pairs(
        windows, s.n, c,
        [&](int64_t i, int64_t rows, bf16* to) {  // A(channel in, (channel out, flipped position))
          pack_channel_pairs(weights + i * positions + positions - 1, positions, c * positions, -1, rows, co, positions,
                             to);
        },
        [&](int64_t image, int32_t* to) {
          pad_channel_pairs(dy + (image * s.c_out + g * co) * oh * ow, co, oh, ow, to, windows, reach_h - s.padding[0],
                            reach_w - s.padding[1], s.stride);
        },
        nullptr, dx + g * c * s.h * s.w, s.c_in * s.h * s.w);
  }
}

/// N pairs of each of 16 rows, transposed: N registers of one pair of every row. N is 16, 8 or 4; a register holds
/// 16 / N rows side by side, so that all have only N rows to exchange.
template <int N>
GRADUS_INLINE void transpose_pairs(const bf16* const* rows, int64_t offset, bf16* to, int64_t to_stride,
                                   int64_t count) {
  typedef int32_t Lanes __attribute__((vector_size(64)));
  Lanes block[N];
  GRADUS_UNROLL
  for (int i = 0; i < N; ++i) {
    auto row = [&](int k) GRADUS_INLINE_LAMBDA { return rows[i + k * N] + offset; };
    __m512i x;
    if constexpr (N == 16) {
      x = _mm512_loadu_si512(row(0));
    } else if constexpr (N == 8) {
      auto half = [&](int k)
                      GRADUS_INLINE_LAMBDA { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row(k))); };
      x = _mm512_maskz_broadcast_i64x4(0xff, half(0));
      x = _mm512_mask_broadcast_i64x4(x, 0xf0, half(1));
    } else {
      auto quarter = [&](int k)
                         GRADUS_INLINE_LAMBDA { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row(k))); };
      x = _mm512_maskz_broadcast_i32x4(0xffff, quarter(0));
      x = _mm512_mask_broadcast_i32x4(x, 0x00f0, quarter(1));
      x = _mm512_mask_broadcast_i32x4(x, 0x0f00, quarter(2));
      x = _mm512_mask_broadcast_i32x4(x, 0xf000, quarter(3));
    }
    block[i] = reinterpret_cast<Lanes>(x);
  }
  transpose_registers<N / 2>(block);
  GRADUS_UNROLL
  for (int i = 0; i < N; ++i) {
    if (i < count) _mm512_storeu_si512(to + i * to_stride, reinterpret_cast<__m512i>(block[i]));
  }
}

/// Packs columns [j0, j0 + width) of B, elements of windows, for the windows of `runs`, whose lengths are even: pairs
/// of neighbouring windows, read across the image and transposed. Row p / 2 of the panel has `padded` pairs.
inline void pack_window_pairs(const Windows& windows, const bf16* image, const WindowRun* runs, int used, int64_t j0,
                              int64_t width, bf16* to, int64_t padded) {
  auto step = windows.stride[1];
  for (int64_t j = 0; j < padded; j += 16) {
    const bf16* sources[16];  // beyond the width any readable place: those columns are not used
    for (int64_t i = 0; i < 16; ++i) sources[i] = image + windows.offset(j0 + std::min(j + i, width - 1));
    auto in_blocks = [&]<int N>(std::integral_constant<int, N>) GRADUS_INLINE_LAMBDA {
      for (int r = 0; r < used; ++r) {
        for (int64_t q = 0; q < runs[r].count; q += 2 * N)
          transpose_pairs<N>(sources, runs[r].source + q, to + (runs[r].at + q) * padded + 2 * j, 2 * padded,
                             (runs[r].count - q) / 2);
      }
    };
    if (step == 1 && windows.ow <= 8) {
      in_blocks(std::integral_constant<int, 4>());
    } else if (step == 1 && windows.ow <= 16) {
      in_blocks(std::integral_constant<int, 8>());
    } else if (step == 1) {
      in_blocks(std::integral_constant<int, 16>());
    } else {
      for (int r = 0; r < used; ++r) {
        for (int64_t q = 0; q < runs[r].count; ++q) {
          auto p = runs[r].at + q;
          auto* row = to + p / 2 * 2 * padded + 2 * j + p % 2;
          for (int64_t i = 0; i < 16; ++i) row[2 * i] = sources[i][runs[r].source + q * step];
        }
      }
    }
  }
}

/// conv2d_backward_weight for bf16: of pairs of neighbouring pixels. Rows of an odd length get one more, with gradients
/// of 0; small images share a panel.
inline void conv2d_backward_weight_pairs(const ConvShape& s, const bf16* x, const bf16* dy, bf16* dw) {
  using Tile = GemmTile<bf16>;
  using Plan = GemmPlan<bf16>;
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), ow = s.ow(), even = ow + ow % 2;
  Windows windows{c, s.h + 2 * s.padding[0], s.w + 2 * s.padding[1], s.kh, s.kw, oh, even, s.stride, s.dilation};
  auto columns = windows.depth(), pixels = windows.pixels();  // columns of dw, for each of its co rows
  auto at_once = std::max<int64_t>(1, conv_depth / std::max<int64_t>(pixels, 1));  // images a panel
  auto slack = Windows::slack * s.stride[1];
  for (int64_t g = 0; g < s.groups; ++g) {
    auto parts = std::clamp<int64_t>(Plan::ceil_div(s.n, at_once), 1, 32),
         group_columns = std::min<int64_t>(Plan::round_up(columns, Tile::lanes), 16 * Tile::columns);
    if (co * columns > 512 * 1024) parts = std::min<int64_t>(parts, 4);
    auto column_groups = Plan::ceil_div(columns, group_columns);
    auto padded_rows = Plan::round_up(co, Tile::rows);
    Scratch<float> partial(parts * co * columns);
    parallel_chunks(parts * column_groups, [&](int64_t chunk) {
      auto part = chunk % parts, j0 = chunk / parts * group_columns, width = std::min(group_columns, columns - j0);
      auto ld = Plan::round_up(width, Tile::lanes), image_size = windows.image_size();
      Scratch<float> sums(padded_rows * ld);
      Scratch<bf16> padded(at_once * image_size + slack), a(conv_depth * padded_rows), b(conv_depth * Tile::columns),
          wide(ow == even ? 0 : co * pixels);
      std::fill_n(sums.data(), padded_rows * ld, 0.0f);
      auto last = s.n * (part + 1) / parts;
      for (auto image = s.n * part / parts; image < last; image += at_once) {
        auto images = std::min(at_once, last - image);
        std::fill_n(padded.data() + images * image_size, slack, bf16());  // what a row's added window may see
        for (int64_t i = 0; i < images; ++i)
          pad_image(x + ((image + i) * s.c_in + g * c) * s.h * s.w, s.h, s.w, padded.data() + i * image_size, windows,
                    s.padding[0], s.padding[1], {1, 1});
        for (int64_t p0 = 0; p0 < images * pixels; p0 += conv_depth) {
          auto depth = std::min<int64_t>(conv_depth, images * pixels - p0);
          for (int64_t p = p0; p < p0 + depth;) {  // an image's share of the panel
            auto of = p / pixels, pixel = p % pixels, count = std::min(pixels - pixel, p0 + depth - p);
            auto* gradients = dy + ((image + of) * s.c_out + g * co) * oh * ow;
            if (ow != even) {
              for (int64_t row = 0; row < co * oh; ++row)
                *std::copy_n(gradients + row * ow, ow, wide.data() + row * even) = bf16();
              gradients = wide.data();
            }
            for (int64_t i = 0; i < co; i += Tile::rows) {
              pack_panel(gradients + i * pixels + pixel, pixels, 1, std::min<int64_t>(Tile::rows, co - i), count,
                         a.data() + i * depth + (p - p0) * Tile::rows, Tile::rows, Tile::rows);
            }
            p += count;
          }
          WindowRun runs[conv_depth];
          auto used = window_runs(windows, p0, depth, runs);
          for (int64_t j = 0; j < width; j += Tile::columns) {
            auto panel_width = std::min<int64_t>(Tile::columns, width - j);
            auto registers = column_registers<bf16>(panel_width);
            pack_window_pairs(windows, padded.data(), runs, used, j0 + j, panel_width, b.data(),
                              registers * Tile::lanes);
            for (int64_t i = 0; i < co; i += Tile::rows)
              gemm_tile<bf16>(registers, depth, a.data() + i * depth, b.data(), sums.data() + i * ld + j, ld, true);
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
      write_row<float, bf16>(partial.data() + first, last - first, 0.0f, nullptr, false, to + first);
    });
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// Whether products of pairs are the fastest way. Channels of their own have nothing to pair. Winograd's method, in
/// float, needs so many fewer products that it wins wherever there are tiles enough to pay for the transforms of the
/// weights.
inline bool takes_pairs(const ConvShape& s, int64_t height, int64_t width, int64_t fewest_tiles) {
  return !is_depthwise(s) && (!takes_winograd(s) || s.n * ((height + 3) / 4) * ((width + 3) / 4) < fewest_tiles);
}

/// y = x * w + bias (which may be null).
template <class T>
void convolve(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  if constexpr (std::is_same_v<Packed<T>, bf16>) {
    if (takes_pairs(s, s.oh(), s.ow(), 128)) return conv2d_forward_pairs(s, x, w, bias, y);
  }
  conv2d_forward<T>(s, x, w, bias, y);
}
template <class T>
void convolve_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  if constexpr (std::is_same_v<Packed<T>, bf16>) {
    if (takes_pairs(s, s.h, s.w, 128)) return conv2d_backward_input_pairs(s, dy, w, dx);
  }
  conv2d_backward_input<T>(s, dy, w, dx);
}
template <class T>
void convolve_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  if constexpr (std::is_same_v<Packed<T>, bf16>) {
    if (takes_pairs(s, s.oh(), s.ow(), 0)) return conv2d_backward_weight_pairs(s, x, dy, dw);
  }
  conv2d_backward_weight<T>(s, x, dy, dw);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
