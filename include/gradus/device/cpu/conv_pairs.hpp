// Operands of convolutions of bf16 for products of pairs, see gemm_bf16.hpp. Two neighbouring channels lie together in
// the copies of images and weights, as one number of four bytes, so that windows are packed by copying. The gradient of
// the weights multiplies pairs of neighbouring pixels.
#pragma once

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/conv_windows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What the windows and weights of a convolution of T are packed as: pairs of bf16 are numbers of four bytes.
template <class T>
using ConvUnit = std::conditional_t<std::is_same_v<Packed<T>, bf16>, int32_t, Compute<T>>;

/// What their products add up in.
template <class C>
using ConvSum = std::conditional_t<std::is_same_v<C, int32_t>, float, C>;

template <class C>
inline constexpr bool in_pairs = std::is_same_v<C, int32_t>;

/// Channels that one unit holds.
template <class C>
inline constexpr int64_t unit_channels = in_pairs<C> ? 2 : 1;

/// Positions of a kernel, up to 16, that lie within 16 neighbours of memory: those at `base` + lanes[i].
struct KernelRun {
  int64_t base, count;
  alignas(64) int32_t lanes[16];
};

/// Cuts positions position(0) ... position(count - 1), in this order, into runs; returns how many.
template <class Position>
int64_t kernel_runs(int64_t count, Position&& position, KernelRun* runs) {
  int64_t used = 0;
  for (int64_t i = 0; i < count; ++used) {
    auto low = position(i), high = low;
    auto end = i;
    for (; end < count && end - i < 16; ++end) {
      auto next = position(end);
      if (std::max(high, next) - std::min(low, next) >= 16) break;
      low = std::min(low, next), high = std::max(high, next);
    }
    auto& run = runs[used] = {low, end - i, {}};
    for (auto k = i; k < end; ++k) run.lanes[k - i] = static_cast<int32_t>(position(k) - low);
    i = end;
  }
  return used;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

#if GRADUS_BF16_PRODUCTS && !defined(GRADUS_COMPILED)  // gradus::compiled has them for all

namespace gradus::detail::inline GRADUS_BUILD {

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

/// pack_windows of kernels of one pixel over images (pairs of channels, pixels), from the images themselves.
inline void pack_pixel_pairs(const bf16* images, int64_t channels, int64_t pixels, int64_t first, int64_t count,
                             int64_t k0, int64_t depth, int32_t* to) {
  int64_t padded = column_registers<bf16>(count) * GemmTile<bf16>::lanes;
  for (auto k = k0; k < k0 + depth; ++k, to += padded) {
    auto both = 2 * k + 1 < channels;
    for (int64_t at = 0; at < count;) {
      auto image = (first + at) / pixels, pixel = (first + at) % pixels, run = std::min(pixels - pixel, count - at);
      auto* low = images + (image * channels + 2 * k) * pixels + pixel;
      auto* high = both ? low + pixels : low;
      for (int64_t i = 0; i < run; i += 16) {
        auto mask = static_cast<__mmask16>(first_lanes<16>(run - i));
        auto lanes = interleave(low + i, high + i, mask, both ? mask : __mmask16{0});
        _mm512_mask_storeu_epi32(to + at + i, static_cast<__mmask16>(first_lanes<16>(padded - at - i)), lanes);
      }
      at += run;
    }
    std::fill(to + count, to + padded, 0);
  }
}

/// Panels of A(row, (pair of channels, position)): number (row, channel, position) is from[row * row_stride + channel *
/// channel_stride + position], of `kernel` positions; those of `runs`, `positions` in all, are taken.
inline void pack_kernel_pairs(const bf16* from, int64_t row_stride, int64_t rows, int64_t channel_stride,
                              int64_t channels, int64_t kernel, const KernelRun* runs, int64_t positions, int32_t* to) {
  typedef int32_t Lanes __attribute__((vector_size(64)));
  constexpr int panel = GemmTile<bf16>::rows;
  auto pairs = (channels + 1) / 2, k = pairs * positions;
  if (kernel == 1) {  // the rows of a matrix
    return parallel_for((rows + 2 * panel - 1) / (2 * panel), std::max<int64_t>(1, 1024 / std::max<int64_t>(pairs, 1)),
                        [&](int64_t first, int64_t last) {
                          auto i = first * 2 * panel;
                          pack_panels(from + i * row_stride, row_stride, channel_stride,
                                      std::min(rows, last * 2 * panel) - i, channels,
                                      reinterpret_cast<bf16*>(to + i * k));
                        });
  }
  parallel_for(pairs, std::max<int64_t>(1, 16384 / (rows * positions)), [&](int64_t first, int64_t last) {
    for (auto pair = first; pair < last; ++pair) {
      auto both = 2 * pair + 1 < channels;
      for (int64_t i = 0; i < rows; i += panel) {
        auto* target = to + i * k + pair * positions * panel;
        auto* low = from + i * row_stride + 2 * pair * channel_stride;
        auto* high = both ? low + channel_stride : low;
        for (int64_t done = 0, r = 0; done < positions; done += runs[r++].count) {
          auto mask = static_cast<__mmask16>(first_lanes<16>(kernel - runs[r].base));
          auto lanes = _mm512_load_si512(runs[r].lanes);
          Lanes block[panel];
          GRADUS_UNROLL
          for (int row = 0; row < panel; ++row) {
            auto at = std::min<int64_t>(row, rows - 1 - i) * row_stride + runs[r].base;
            auto used = i + row < rows ? mask : __mmask16{0};
            auto in_memory = interleave(low + at, high + at, used, both ? used : __mmask16{0});
            block[row] = reinterpret_cast<Lanes>(_mm512_maskz_permutexvar_epi32(0xffff, lanes, in_memory));
          }
          transpose_registers<panel / 2>(block);
          GRADUS_UNROLL
          for (int p = 0; p < 16; ++p) {
            if (p >= runs[r].count) continue;
            auto columns = reinterpret_cast<__m512i>(block[p % panel]);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + p * panel),
                                p < panel ? half_of<0>(columns) : half_of<1>(columns));
          }
          target += runs[r].count * panel;
        }
      }
    }
  });
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

/// pack_windows_transposed of pairs of neighbouring windows; the runs' lengths are even.
inline void pack_windows_transposed(const Windows& windows, const bf16* image, const WindowRun* runs, int used,
                                    int64_t j0, int64_t width, bf16* to, int64_t padded) {
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
    if (windows.ow <= 8) in_blocks(std::integral_constant<int, 4>());
    else if (windows.ow <= 16) in_blocks(std::integral_constant<int, 8>());
    else in_blocks(std::integral_constant<int, 16>());
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

#endif
