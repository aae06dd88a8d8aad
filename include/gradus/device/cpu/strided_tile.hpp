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

  GRADUS_INLINE C element(int i) const { return data[i * row]; }
  GRADUS_INLINE void next() { data += depth; }
};

/// tile_product of rows that are not packed, with so many registers.
template <class C>
[[gnu::noinline]] inline void strided_tile(int registers, int64_t depth, const StridedRows<C>& a, const C* b,
                                           int64_t b_stride, C* c, int64_t ld, bool accumulate) {
  switch (registers) {
    case 1:
      return tile_product<C, 1>(depth, a, b, b_stride, c, ld, accumulate);
    case 2:
      return tile_product<C, 2>(depth, a, b, b_stride, c, ld, accumulate);
    default:
      return tile_product<C, 3>(depth, a, b, b_stride, c, ld, accumulate);
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
