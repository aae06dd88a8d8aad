// The inner kernel of products whose left operand is not packed: its elements are read one by one anyway, and need only
// lie at fixed distances.
#pragma once

#include "gradus/device/cpu/gemm_kernel.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Element (i, k) is data[i * row + k * depth].
template <class C>
struct StridedRows {
  const C* data;
  int64_t row, depth;
};

/// c (tile rows, Registers registers), rows ld apart, (+)= a (tile rows, depth) b (depth, those registers), whose rows
/// lie b_stride apart.
template <class C, int Registers>
inline void strided_tile(int64_t depth, const StridedRows<C>& a, const C* b, int64_t b_stride, C* c, int64_t ld,
                         bool accumulate) {
  using namespace Eigen::internal;
  using Tile = GemmTile<C>;
  using P = typename Tile::P;
  P sums[Tile::rows][Registers];
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j)
      sums[i][j] = accumulate ? ploadu<P>(c + i * ld + j * Tile::lanes) : pset1<P>(C(0));
  }
  auto* from = a.data;
  for (int64_t k = 0; k < depth; ++k) {
    P columns[Registers];
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) columns[j] = ploadu<P>(b + j * Tile::lanes);
    GRADUS_UNROLL
    for (int i = 0; i < Tile::rows; ++i) {
      auto row = pset1<P>(from[i * a.row]);
      GRADUS_UNROLL
      for (int j = 0; j < Registers; ++j) sums[i][j] = pmadd<P>(row, columns[j], sums[i][j]);
    }
    from += a.depth;
    b += b_stride;
  }
  GRADUS_UNROLL
  for (int i = 0; i < Tile::rows; ++i) {
    GRADUS_UNROLL
    for (int j = 0; j < Registers; ++j) pstoreu(c + i * ld + j * Tile::lanes, sums[i][j]);
  }
}

template <class C>
inline void strided_tile(int registers, int64_t depth, const StridedRows<C>& a, const C* b, int64_t b_stride, C* c,
                         int64_t ld, bool accumulate) {
  switch (registers) {
    case 1:
      return strided_tile<C, 1>(depth, a, b, b_stride, c, ld, accumulate);
    case 2:
      return strided_tile<C, 2>(depth, a, b, b_stride, c, ld, accumulate);
    default:
      return strided_tile<C, 3>(depth, a, b, b_stride, c, ld, accumulate);
  }
}

/// Cuts `registers` registers of columns into panels of nearly equal width, at most three registers each.
struct ColumnPanels {
  int64_t registers, count;

  explicit ColumnPanels(int64_t all) : registers(all), count((all + 2) / 3) {}
  int64_t first(int64_t panel) const { return registers * panel / count; }
  int width(int64_t panel) const { return static_cast<int>(first(panel + 1) - first(panel)); }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
