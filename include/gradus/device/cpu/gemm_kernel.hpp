// The inner kernel of matrix products, and how operands are packed for it.
//
// A is packed in panels of `tile_rows` rows, B in panels of up to three registers of columns; the kernel keeps a
// tile of C in registers while it runs down a block of the inner dimension.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cpu/gemm_bf16.hpp"
#include "gradus/device/cpu/rectify_lanes.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/device/cpu/transpose_registers.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Tile sizes that fill the machine's registers: 24 of 32 accumulate on AVX-512 and NEON, 12 of 16 elsewhere.
template <class C>
struct GemmTile {
  using P = typename Eigen::internal::packet_traits<C>::type;
  static constexpr int lanes = sizeof(P) / sizeof(C);
  static constexpr int rows = sizeof(P) == 64 || EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 8 : 4;
  static constexpr int columns = 3 * lanes;
  /// Of a block: panels of A and B stay in the first two caches, and sums are written and read again seldom.
  static constexpr int64_t depth = (sizeof(P) == 64 ? 512 : 256) * 4 / sizeof(C);
  static constexpr int64_t steps = 1;  ///< of the depth that lie together, and are filled up with 0
};

/// c (rows, width) of a scratch tile with leading dimension ld, (+)= a (tile rows, depth) b panel (depth, width rounded
/// up to whole registers), whose rows lie b_stride apart. `Registers` columns registers are in use. `a` gives
/// element(i) of the step of the depth at which it stands, and goes on by next().
template <class C, int Registers, class Rows>
GRADUS_INLINE void tile_product(int64_t depth, Rows a, const C* b, int64_t b_stride, C* c, int64_t ld,
                                bool accumulate) {
  using namespace Eigen::internal;
  using Tile = GemmTile<C>;
  using P = typename Tile::P;
  P sums[Tile::rows][Registers];
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) {
      __builtin_prefetch(c + i * ld + j * Tile::lanes, 1);
      sums[i][j] = pset1<P>(C(0));
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    P columns[Registers];
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) columns[j] = ploadu<P>(b + j * Tile::lanes);
    GRADUS_UNROLL
    for (int i = 0; i < Tile::rows; ++i) {
      auto row = pset1<P>(a.element(i));
      GRADUS_UNROLL
      for (int j = 0; j < Registers; ++j) sums[i][j] = pmadd<P>(row, columns[j], sums[i][j]);
    }
    a.next();
    b += b_stride;
  }
  if (accumulate) {
    GRADUS_UNROLL
    for (int i = 0; i < Tile::rows; ++i) {
      GRADUS_UNROLL
      for (int j = 0; j < Registers; ++j) sums[i][j] = padd(ploadu<P>(c + i * ld + j * Tile::lanes), sums[i][j]);
    }
  }
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) pstoreu(c + i * ld + j * Tile::lanes, sums[i][j]);
  }
}

/// A panel of A (depth, tile rows). The next panel, which comes from memory, is asked for ahead.
template <class C>
struct PackedRows {
  const C* data;
  int64_t panel;  ///< elements of one

  GRADUS_INLINE C element(int i) const { return data[i]; }
  GRADUS_INLINE void next() {
    __builtin_prefetch(data + panel);
    data += GemmTile<C>::rows;
  }
};

/// tile_product of packed rows. Never inlined: within a caller that needs registers too, sums were seen to be kept in
/// memory.
template <class C, int Registers>
[[gnu::noinline]] inline void gemm_tile(int64_t depth, const C* a, const C* b, int64_t b_stride, C* c, int64_t ld,
                                        bool accumulate) {
  tile_product<C, Registers>(depth, PackedRows<C>{a, depth * GemmTile<C>::rows}, b, b_stride, c, ld, accumulate);
}

/// A depth filled up to what lies together in packed panels.
template <class C>
constexpr int64_t packed_depth(int64_t depth) {
  return (depth + GemmTile<C>::steps - 1) / GemmTile<C>::steps * GemmTile<C>::steps;
}

/// Registers that `width` columns take.
template <class C>
constexpr int column_registers(int64_t width) {
  return static_cast<int>((width + GemmTile<C>::lanes - 1) / GemmTile<C>::lanes);
}

template <class C>
inline void gemm_tile(int registers, int64_t depth, const C* a, const C* b, int64_t b_stride, Compute<C>* c, int64_t ld,
                      bool accumulate) {
  switch (registers) {
    case 1:
      return gemm_tile<C, 1>(depth, a, b, b_stride, c, ld, accumulate);
    case 2:
      return gemm_tile<C, 2>(depth, a, b, b_stride, c, ld, accumulate);
    default:
      return gemm_tile<C, 3>(depth, a, b, b_stride, c, ld, accumulate);
  }
}
/// The same with a packed panel of B, whose rows lie side by side.
template <class C>
inline void gemm_tile(int registers, int64_t depth, const C* a, const C* b, Compute<C>* c, int64_t ld,
                      bool accumulate) {
  gemm_tile<C>(registers, depth, a, b, registers * GemmTile<C>::lanes, c, ld, accumulate);
}

/// N numbers in a register, and anywhere in memory.
template <class C, int N>
struct VectorOf {
  typedef C type __attribute__((vector_size(N * sizeof(C))));
  typedef C in_memory __attribute__((vector_size(N * sizeof(C)), aligned(alignof(C)), may_alias));
};

/// A square of N rows, read from `rows[i] + offset` and written transposed; only the first `count` of its columns are
/// written.
template <class C, int N = GemmTile<C>::lanes>
inline void transpose_rows(const C* const* rows, int64_t offset, C* to, int64_t to_ld, int64_t count) {
  using V = typename VectorOf<C, N>::in_memory;
  typename VectorOf<C, N>::type block[N];
  GRADUS_UNROLL
  for (int i = 0; i < N; ++i) block[i] = *reinterpret_cast<const V*>(rows[i] + offset);
  transpose_registers<N / 2>(block);
  if (count == N) {
    GRADUS_UNROLL
    for (int i = 0; i < N; ++i) *reinterpret_cast<V*>(to + i * to_ld) = block[i];
  } else {
    GRADUS_UNROLL
    for (int i = 0; i < N; ++i) {
      if (i < count) *reinterpret_cast<V*>(to + i * to_ld) = block[i];
    }
  }
}

/// to[j] = from[j], converted; a whole panel's width goes in registers.
template <class C, class T>
inline void copy_row(const T* from, int64_t width, C* to) {
  if constexpr (!std::is_same_v<C, T>) {
    int64_t j = 0;
    for (; j + simd_lanes <= width; j += simd_lanes) Simd<C>::load(from + j).store(to + j);
    for (; j < width; ++j) to[j] = static_cast<C>(from[j]);
  } else if (width == GemmTile<C>::columns) {
    std::memcpy(to, from, GemmTile<C>::columns * sizeof(C));
  } else if (width == GemmTile<C>::rows) {
    std::memcpy(to, from, GemmTile<C>::rows * sizeof(C));
  } else {
    std::memcpy(to, from, static_cast<size_t>(width) * sizeof(C));
  }
}

/// to[j] = (accumulate ? to[j] : 0) + from[j] + bias + biases[j]; biases may be null.
template <class C, class T>
inline void write_row(const C* from, int64_t n, C bias, const T* biases, bool accumulate, T* to) {
  Simd<C> constant(bias);
  auto write = [&](int64_t j, int64_t count) GRADUS_INLINE_LAMBDA {
    auto value = load_some<C>(from + j, count) + constant;
    if (biases != nullptr) value = value + load_some<C>(biases + j, count);
    if (accumulate) value = value + load_some<C>(to + j, count);
    store_some(value, to + j, count);
  };
  int64_t j = 0;
  for (; j + simd_lanes <= n; j += simd_lanes) write(j, simd_lanes);
  if (j < n) write(j, n - j);
}

/// to[j] = from[j] + bias, rectified.
template <class C, class T>
inline void write_rectified_row(const C* from, int64_t n, C bias, const RectifierRange<C>& range, T* to) {
  Simd<C> constant(bias);
  auto write = [&](int64_t j, int64_t count) GRADUS_INLINE_LAMBDA {
    store_some(rectified(load_some<C>(from + j, count) + constant, range), to + j, count);
  };
  int64_t j = 0;
  for (; j + simd_lanes <= n; j += simd_lanes) write(j, simd_lanes);
  if (j < n) write(j, n - j);
}

/// to[k * to_ld + j] = from[j * j_stride + k] for j < count, 0 for count <= j < N; k < depth.
template <int N, class C>
inline void transpose_strip(const C* from, int64_t j_stride, int64_t count, int64_t depth, C* to, int64_t to_ld) {
  static constexpr C zeros[N] = {};
  const C* rows[N];
  for (int64_t i = 0; i < N; ++i) rows[i] = i < count ? from + i * j_stride : zeros;
  int64_t k = 0;
  for (; k + N <= depth; k += N) {
    transpose_rows<C, N>(rows, 0, to + k * to_ld, to_ld, N);
    for (int64_t i = 0; i < count; ++i) rows[i] += N;
  }
  for (int64_t rest = k; k < depth; ++k) {
    for (int64_t i = 0; i < N; ++i) to[k * to_ld + i] = i < count ? rows[i][k - rest] : C(0);
  }
}

/// to[k * to_ld + j] = element (j, k) for j < width, k < depth, zeros for width <= j < padded. Element (j, k) is
/// from[j * j_stride + k * k_stride]; T is converted to C. This packs A and B alike.
template <class C, class T>
inline void pack_panel(const T* from, int64_t j_stride, int64_t k_stride, int64_t width, int64_t depth, C* to,
                       int64_t to_ld, int64_t padded) {
  int64_t j = 0;
  if (j_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) copy_row<C>(from + k * k_stride, width, to + k * to_ld);
    j = width;
  }
  if constexpr (std::is_same_v<C, T>) {
    if (k_stride == 1 && j_stride != 1) {
      auto strips = [&]<int N>(std::integral_constant<int, N>) {
        for (; j < width && j + N <= padded; j += N)
          transpose_strip<N>(from + j * j_stride, j_stride, std::min<int64_t>(N, width - j), depth, to + j, to_ld);
      };
      constexpr int lanes = GemmTile<C>::lanes, rows = GemmTile<C>::rows;
      strips(std::integral_constant<int, lanes>());
      if constexpr (rows < lanes) strips(std::integral_constant<int, rows>());  // a panel of A is narrower
    }
  }
  if constexpr (!std::is_same_v<C, T>) {
    constexpr int64_t lanes = GemmTile<C>::lanes, block = 64;
    if (k_stride == 1 && j_stride != 1) {  // whole registers are converted, and then packed
      alignas(64) C lines[lanes * block];
      for (; j < width; j += lanes) {
        auto count = std::min(lanes, width - j), filled = std::min(lanes, padded - j);
        for (int64_t k = 0; k < depth; k += block) {
          auto part = std::min(block, depth - k);
          for (int64_t i = 0; i < count; ++i) copy_row<C>(from + (j + i) * j_stride + k, part, lines + i * block);
          pack_panel(lines, block, int64_t{1}, count, part, to + k * to_ld + j, to_ld, filled);
        }
      }
    }
  }
  for (; j < width; ++j) {
    for (int64_t k = 0; k < depth; ++k) to[k * to_ld + j] = static_cast<C>(from[j * j_stride + k * k_stride]);
  }
  if (j < padded) {
    for (int64_t k = 0; k < depth; ++k) std::fill(to + k * to_ld + j, to + k * to_ld + padded, C(0));
  }
}

/// Panels of A, one behind another: rows [0, rows) of `from` in steps of the tile's rows, the last one padded with
/// zeros.
template <class C, class T>
inline void pack_panels(const T* from, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t depth, C* to) {
  constexpr int panel = GemmTile<C>::rows;
  if (row_stride != 1) {
    for (int64_t i = 0; i < rows; i += panel)
      pack_panel(from + i * row_stride, row_stride, k_stride, std::min<int64_t>(panel, rows - i), depth, to + i * depth,
                 panel, panel);
    return;
  }
  auto whole = rows / panel * panel;  // a line of memory holds numbers of several panels
  constexpr int64_t together = 4;     // and so many steps fill lines of a panel, which may lie where others do
  int64_t k = 0;
  for (; k + together <= depth; k += together) {
    for (int64_t i = 0; i < whole; i += panel) {
      GRADUS_UNROLL
      for (auto step = k; step < k + together; ++step) {
        __builtin_prefetch(from + (step + 2 * together) * k_stride + i);
        copy_row<C>(from + step * k_stride + i, panel, to + i * depth + step * panel);
      }
    }
  }
  for (; k < depth; ++k) {
    for (int64_t i = 0; i < whole; i += panel) copy_row<C>(from + k * k_stride + i, panel, to + i * depth + k * panel);
  }
  if (whole < rows)
    pack_panel(from + whole, row_stride, k_stride, rows - whole, depth, to + whole * depth, panel, panel);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
