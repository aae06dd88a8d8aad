// Images between (channels, height, width) in memory and a scratch copy with the channels last, in which every pixel's
// channels fill whole registers: what works on all channels alike needs no shuffling there, however small the image.
#pragma once

#include <array>

#include "gradus/device/cpu/gemm_kernel.hpp"
#include "gradus/device/cpu/simd_rows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Channels rounded up to whole registers.
template <class C>
constexpr int64_t padded_channels(int64_t channels) {
  return (channels + GemmTile<C>::lanes - 1) / GemmTile<C>::lanes * GemmTile<C>::lanes;
}

/// Registers hold rows[i][at ... at + count) of `used` rows, zeros elsewhere; they come out transposed.
template <class C, class T>
GRADUS_INLINE void load_transposed(const T* const* rows, int64_t used, int64_t at, int64_t count,
                                   typename VectorOf<C, GemmTile<C>::lanes>::type (&block)[GemmTile<C>::lanes]) {
  constexpr int lanes = GemmTile<C>::lanes;
  using V = typename VectorOf<C, lanes>::in_memory;
  if (std::is_same_v<C, T> && used == lanes && count == lanes) {
    GRADUS_UNROLL
    for (int i = 0; i < lanes; ++i) block[i] = *reinterpret_cast<const V*>(rows[i] + at);
  } else if constexpr (lanes == simd_lanes) {
    GRADUS_UNROLL
    for (int i = 0; i < lanes; ++i) {
      if (i < used) block[i] = reinterpret_cast<const V&>(load_some<C>(rows[i] + at, count).p[0]);
      else block[i] = V{};
    }
  } else {
    alignas(64) C lines[lanes][lanes] = {};
    for (int64_t i = 0; i < used; ++i) {
      for (int64_t j = 0; j < count; ++j) lines[i][j] = static_cast<C>(rows[i][at + j]);
    }
    for (int i = 0; i < lanes; ++i) block[i] = *reinterpret_cast<const V*>(lines[i]);
  }
  transpose_registers<lanes / 2>(block);
}

/// A rectangle of a padded image: rows [row, row + rows), columns [column, column + columns) of an image (h, w); what
/// lies outside of the image is zero. It is as wide as the image at least.
struct ImagePart {
  int64_t row, rows, column, columns;
};

/// image (channels, h, w) -> to (part.rows, part.columns, padded channels).
template <class C, class T>
void to_channels_last(const T* image, int64_t channels, int64_t h, int64_t w, const ImagePart& part, C* to) {
  constexpr int lanes = GemmTile<C>::lanes;
  using V = typename VectorOf<C, lanes>::in_memory;
  auto depth = padded_channels<C>(channels);
  std::fill_n(to, part.rows * part.columns * depth, C(0));
  auto first = std::max<int64_t>(0, part.row) * w, last = std::min(h, part.row + part.rows) * w;
  for (auto p = first; p < last; p += lanes) {
    auto count = std::min<int64_t>(lanes, last - p);
    C* pixels[lanes];
    for (int64_t i = 0, y = p / w, x = p % w; i < count; ++i) {
      pixels[i] = to + ((y - part.row) * part.columns + x - part.column) * depth;
      if (++x == w) x = 0, ++y;
    }
    for (int64_t c = 0; c < channels; c += lanes) {
      const T* rows[lanes];
      auto used = std::min<int64_t>(lanes, channels - c);
      for (int64_t i = 0; i < used; ++i) rows[i] = image + (c + i) * h * w;
      typename VectorOf<C, lanes>::type block[lanes];
      load_transposed<C>(rows, used, p, count, block);
      if (count == lanes) {
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) *reinterpret_cast<V*>(pixels[i] + c) = block[i];
      } else {
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) {
          if (i < count) *reinterpret_cast<V*>(pixels[i] + c) = block[i];
        }
      }
    }
  }
}

/// from (pixels, padded channels) -> planes of an image, `plane` apart, plus a bias a channel, which may be null,
/// rectified.
template <class C, class T>
void from_channels_last(const C* from, int64_t pixels, int64_t channels, const T* bias, Rectifier rectifier, T* to,
                        int64_t plane) {
  constexpr int lanes = GemmTile<C>::lanes;
  using V = typename VectorOf<C, lanes>::in_memory;
  auto depth = padded_channels<C>(channels);
  RectifierRange<C> range(rectifier);
  for (int64_t p = 0; p < pixels; p += lanes) {
    auto count = std::min<int64_t>(lanes, pixels - p);
    const C* rows[lanes];
    for (int64_t i = 0; i < count; ++i) rows[i] = from + (p + i) * depth;
    for (int64_t c = 0; c < channels; c += lanes) {
      auto used = std::min<int64_t>(lanes, channels - c);
      typename VectorOf<C, lanes>::type block[lanes];
      load_transposed<C>(rows, count, c, lanes, block);
      if (bias != nullptr) {
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) block[i] += i < used ? static_cast<C>(bias[c + i]) : C(0);
      }
      if (rectifier != Rectifier::none) {
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) block[i] = rectified(block[i], range);
      }
      auto* target = to + c * plane + p;
      if (std::is_same_v<C, T> && used == lanes && count == lanes) {
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) *reinterpret_cast<V*>(target + i * plane) = block[i];
      } else {
        for (int64_t i = 0; i < used; ++i) {
          auto* row = target + i * plane;
          if constexpr (lanes == simd_lanes) {
            Simd<C> line;
            reinterpret_cast<V&>(line.p[0]) = block[i];
            store_some(line, row, count);
          } else {
            for (int64_t j = 0; j < count; ++j) row[j] = static_cast<T>(block[i][j]);
          }
        }
      }
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
