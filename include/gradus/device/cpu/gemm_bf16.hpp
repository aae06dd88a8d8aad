// Matrix products of bf16 by the instruction that multiplies pairs (AVX512-BF16), at twice the speed of float's.
//
// Two neighbouring steps of the inner dimension lie together in the packed panels: row k / 2 of a panel holds, for
// each row of A or column of B, the numbers of k and k + 1. The instruction adds both products to a sum in float. It
// takes denormal numbers for 0, and rounds the two products' sum before it is added.
//
// Without the instruction bf16 is converted as it is packed, and float's kernel multiplies.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cpu/transpose_registers.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define GRADUS_BF16_PRODUCTS 1
#else
#define GRADUS_BF16_PRODUCTS 0
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// The type in which operands of T are packed for a product; its sums are of type Compute<T>.
template <class T>
using Packed = std::conditional_t<std::is_same_v<T, bf16> && GRADUS_BF16_PRODUCTS, bf16, Compute<T>>;

template <class C>
struct GemmTile;

#if GRADUS_BF16_PRODUCTS

template <>
struct GemmTile<bf16> {
  static constexpr int lanes = 16, rows = 8, columns = 3 * lanes;
  static constexpr int64_t depth = 1024;  ///< of a block: as many bytes as of float
  static constexpr int64_t steps = 2;     ///< of the depth that lie together
};

/// A pair of bf16 moved as one number.
template <>
struct GemmTile<int32_t> : GemmTile<bf16> {
  static constexpr int64_t depth = GemmTile<bf16>::depth / 2, steps = 1;
};

/// Two bf16 for each of 16 lanes; the first in the lower half.
using Pairs = __m512i;

/// c (rows, columns) of a scratch tile with leading dimension ld, (+)= a panel (depth / 2, tile rows) b panel (depth /
/// 2, columns), whose rows lie b_stride pairs apart; an odd depth counts as the next even one.
template <std::same_as<bf16> C, int Registers>
[[gnu::noinline]] inline void gemm_tile(int64_t depth, const C* a, const C* b, int64_t b_stride, float* c, int64_t ld,
                                        bool accumulate) {
  using Tile = GemmTile<bf16>;
  __m512 sums[Tile::rows][Registers];
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j)
      sums[i][j] = accumulate ? _mm512_loadu_ps(c + i * ld + j * Tile::lanes) : __m512{};
  }
  auto ahead = (depth + 1) / 2 * 2 * Tile::rows;  // the next panel of A, which comes from memory
  for (int64_t k = 0; k < depth; k += 2) {
    Pairs columns[Registers];
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) columns[j] = _mm512_loadu_si512(b + 2 * j * Tile::lanes);
    GRADUS_UNROLL
    for (int i = 0; i < Tile::rows; ++i) {
      int32_t pair;
      std::memcpy(&pair, a + 2 * i, sizeof(pair));
      auto row = _mm512_set1_epi32(pair);
      GRADUS_UNROLL
      for (int j = 0; j < Registers; ++j)
        sums[i][j] =
            _mm512_dpbf16_ps(sums[i][j], reinterpret_cast<__m512bh>(row), reinterpret_cast<__m512bh>(columns[j]));
    }
    __builtin_prefetch(a + ahead);
    a += 2 * Tile::rows;
    b += 2 * b_stride;
  }
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) _mm512_storeu_ps(c + i * ld + j * Tile::lanes, sums[i][j]);
  }
}

/// The lowest `count` bits, of up to N; count may be negative.
template <int N>
GRADUS_INLINE uint32_t first_lanes(int64_t count) {
  return static_cast<uint32_t>((uint64_t{1} << std::clamp<int64_t>(count, 0, N)) - 1);
}

/// 16 pairs from the 16 numbers at `low` and those at `high`; of those that the mask leaves out, 0.
GRADUS_INLINE Pairs interleave(const bf16* low, const bf16* high, __mmask16 low_mask, __mmask16 high_mask) {
  auto first = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_maskz_loadu_epi16(low_mask, low));
  auto second = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_maskz_loadu_epi16(high_mask, high));
  return _mm512_or_si512(first, _mm512_maskz_slli_epi32(0xffff, second, 16));
}

/// One half of a register. (g++ 12 warns of the cast that would do for the lower one.)
template <int Half>
GRADUS_INLINE __m256i half_of(__m512i x) {
  return _mm512_maskz_extracti64x4_epi64(0xf, x, Half);
}

/// pack_panel where columns of the source are dense (j_stride 1): rows k and k + 1 are interleaved.
inline void pack_dense_rows(const bf16* from, int64_t k_stride, int64_t width, int64_t depth, bf16* to, int64_t to_ld,
                            int64_t padded) {
  for (int64_t k = 0; k < depth; k += 2, to += 2 * to_ld) {
    auto* low = from + k * k_stride;
    auto* high = k + 1 < depth ? low + k_stride : low;
    uint32_t both = k + 1 < depth ? 0xffff : 0;
    int64_t j = 0;
    for (; j + 16 <= width; j += 16)
      _mm512_storeu_si512(to + 2 * j, interleave(low + j, high + j, 0xffff, static_cast<__mmask16>(both)));
    for (; j < padded; j += 16) {
      auto mask = first_lanes<16>(width - j);
      auto pairs = interleave(low + j, high + j, static_cast<__mmask16>(mask), static_cast<__mmask16>(mask & both));
      if (padded - j >= 16) _mm512_storeu_si512(to + 2 * j, pairs);
      else if (padded - j == 8) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 2 * j), half_of<0>(pairs));
      else _mm512_mask_storeu_epi32(to + 2 * j, static_cast<__mmask16>(first_lanes<16>(padded - j)), pairs);
    }
  }
}

/// Up to N columns of a panel whose source is dense along the depth: N pairs of each column at a time, transposed.
/// N is 16, or 8: then a register holds two squares, of the first 8 pairs and of those that follow.
template <int N>
inline void pack_dense_columns(const bf16* from, int64_t j_stride, int64_t width, int64_t depth, bf16* to,
                               int64_t to_ld) {
  typedef int32_t Lanes __attribute__((vector_size(64)));
  for (int64_t k = 0; k < depth; k += 32, to += 32 * to_ld) {
    auto rest = depth - k;
    auto mask = static_cast<__mmask32>(first_lanes<32>(rest));
    Lanes block[N];
    GRADUS_UNROLL
    for (int i = 0; i < N; ++i)
      block[i] = reinterpret_cast<Lanes>(_mm512_maskz_loadu_epi16(
          i < width ? mask : __mmask32{0}, from + std::min<int64_t>(i, width - 1) * j_stride + k));
    transpose_registers<N / 2>(block);
    GRADUS_UNROLL
    for (int i = 0; i < 16; ++i) {
      if (2 * i >= rest) continue;
      auto* row = to + 2 * i * to_ld;
      auto pairs = reinterpret_cast<__m512i>(block[i % N]);
      if constexpr (N == 16) {
        _mm512_storeu_si512(row, pairs);
      } else {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), i < N ? half_of<0>(pairs) : half_of<1>(pairs));
      }
    }
  }
}

/// Packs A and B alike: columns [0, padded) of the panel's rows, which lie to_ld pairs apart. Element (j, k) is from[j
/// * j_stride + k * k_stride]; those beyond width and depth are 0. Rows are written up to the next even depth.
inline void pack_panel(const bf16* from, int64_t j_stride, int64_t k_stride, int64_t width, int64_t depth, bf16* to,
                       int64_t to_ld, int64_t padded) {
  if (j_stride == 1) return pack_dense_rows(from, k_stride, width, depth, to, to_ld, padded);
  int64_t j = 0;
  if (k_stride == 1 && width > 0) {
    for (; j + 16 <= padded && j < width; j += 16)
      pack_dense_columns<16>(from + j * j_stride, j_stride, std::min<int64_t>(16, width - j), depth, to + 2 * j, to_ld);
    for (; j + 8 <= padded && j < width; j += 8)
      pack_dense_columns<8>(from + j * j_stride, j_stride, std::min<int64_t>(8, width - j), depth, to + 2 * j, to_ld);
  }
  for (; j < padded; ++j) {
    for (int64_t k = 0; k < (depth + 1) / 2 * 2; ++k) {
      auto& element = to[k / 2 * 2 * to_ld + 2 * j + k % 2];
      element = j < width && k < depth ? from[j * j_stride + k * k_stride] : bf16();
    }
  }
}

/// Panels of A one behind another, as for other types.
inline void pack_panels(const bf16* from, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t depth, bf16* to) {
  constexpr int panel = GemmTile<bf16>::rows;
  auto panel_depth = (depth + 1) / 2 * 2;
  int64_t i = 0;
  if (row_stride == 1 && rows >= 2 * panel) {  // a line of memory holds numbers of several panels
    auto whole = rows / (2 * panel) * 2 * panel;
    for (int64_t k = 0; k < depth; k += 2) {
      auto* low = from + k * k_stride;
      auto both = k + 1 < depth;
      auto* high = both ? low + k_stride : low;
      for (i = 0; i < whole; i += 2 * panel) {
        auto pairs = interleave(low + i, high + i, 0xffff, both ? __mmask16{0xffff} : __mmask16{0});
        auto* row = to + i * panel_depth + k * panel;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), half_of<0>(pairs));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + panel * panel_depth), half_of<1>(pairs));
      }
    }
    i = whole;
  }
  for (; i < rows; i += panel)
    pack_panel(from + i * row_stride, row_stride, k_stride, std::min<int64_t>(panel, rows - i), depth,
               to + i * panel_depth, panel, panel);
}

#endif

}  // namespace gradus::detail::inline GRADUS_BUILD
