// Copies between layouts whose innermost axes differ, as of a transposed matrix: tile by tile, so that whole cache
// lines are read and whole lines written.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gradus/core/thread_pool.hpp"
#include "gradus/tensor/loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Rows and columns of what is turned at a time: a row of words of 4 bytes fills a cache line, a line of tiles a page's
/// neighbourhood.
inline constexpr int64_t turned_rows = 16, turned_columns = 64;

/// to[c * 16 + r] = from[r * stride + c] for 16 rows and 64 columns.
template <class Word>
inline void turn_tile(Word* to, const Word* from, int64_t stride) {
  if constexpr (sizeof(Word) == 4) {
    typedef Word Four __attribute__((vector_size(16), aligned(alignof(Word)), may_alias));
    for (int64_t r = 0; r < turned_rows; r += 4) {
      for (int64_t c = 0; c < turned_columns; c += 4) {
        auto* at = from + r * stride + c;
        Four a = *reinterpret_cast<const Four*>(at), b = *reinterpret_cast<const Four*>(at + stride);
        Four d = *reinterpret_cast<const Four*>(at + 2 * stride), e = *reinterpret_cast<const Four*>(at + 3 * stride);
        Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        Four de_low = __builtin_shufflevector(d, e, 0, 4, 1, 5), de_high = __builtin_shufflevector(d, e, 2, 6, 3, 7);
        auto* turned = to + c * turned_rows + r;
        *reinterpret_cast<Four*>(turned) = __builtin_shufflevector(ab_low, de_low, 0, 1, 4, 5);
        *reinterpret_cast<Four*>(turned + turned_rows) = __builtin_shufflevector(ab_low, de_low, 2, 3, 6, 7);
        *reinterpret_cast<Four*>(turned + 2 * turned_rows) = __builtin_shufflevector(ab_high, de_high, 0, 1, 4, 5);
        *reinterpret_cast<Four*>(turned + 3 * turned_rows) = __builtin_shufflevector(ab_high, de_high, 2, 3, 6, 7);
      }
    }
  } else {
    for (int64_t r = 0; r < turned_rows; ++r) {
      for (int64_t c = 0; c < turned_columns; ++c) to[c * turned_rows + r] = from[r * stride + c];
    }
  }
}

/// to[c * to_stride + r] = from[r * from_stride + c].
template <class Word>
void turn(char* to_data, int64_t to_stride, const char* from_data, int64_t from_stride, int64_t rows, int64_t columns) {
  auto* to = reinterpret_cast<Word*>(to_data);
  auto* from = reinterpret_cast<const Word*>(from_data);
  if (rows < turned_rows || columns < turned_columns) {
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
    }
    return;
  }
  alignas(64) Word tile[turned_rows * turned_columns];
  turn_tile(tile, from, from_stride);
  for (int64_t c = 0; c < columns; ++c) {
    std::memcpy(to + c * to_stride, tile + c * turned_rows, turned_rows * sizeof(Word));
  }
}

/// The axis of the plan along which operand 1 is dense, where operand 0 is dense along the innermost one and both are
/// long enough for tiles; else -1.
inline int turned_axis(const LoopPlan& plan) {
  auto inner = static_cast<size_t>(plan.rank - 1);
  if (plan.strides[0][inner] != 1 || plan.strides[1][inner] <= 1 || plan.sizes[inner] < turned_rows) return -1;
  for (size_t axis = 0; axis < inner; ++axis) {
    if (plan.strides[1][axis] == 1 && plan.sizes[axis] >= turned_rows) return static_cast<int>(axis);
  }
  return -1;
}

/// Copies operand 1 of the plan to operand 0, where turned_axis() is `axis`; elements of `bytes` bytes.
inline void copy_turned(const LoopPlan& plan, int axis, int bytes, char* to, const char* from) {
  auto* turn_words = bytes == 1   ? turn<uint8_t>
                     : bytes == 2 ? turn<uint16_t>
                     : bytes == 4 ? turn<uint32_t>
                                  : turn<uint64_t>;
  auto inner = static_cast<size_t>(plan.rank - 1), turned = static_cast<size_t>(axis);
  auto rows = plan.sizes[inner], columns = plan.sizes[turned];
  auto to_stride = plan.strides[0][turned], from_stride = plan.strides[1][inner];
  auto others = plan.sizes;  // what is left: a matrix for each of its elements
  others[inner] = others[turned] = 1;
  int64_t matrices = 1;
  for (size_t a = 0; a <= inner; ++a) matrices *= others[a];
  auto bands = (columns + turned_columns - 1) / turned_columns;
  auto grain = std::max<int64_t>(1, 32768 / (rows * std::min(columns, turned_columns)));
  parallel_for(matrices * bands, grain, [&](int64_t first, int64_t last) {
    for (auto unit = first; unit < last; ++unit) {
      auto column = unit % bands * turned_columns, rest = unit / bands;
      int64_t to_offset = column * to_stride, from_offset = column;
      for (auto a = inner + 1; a-- > 0; rest /= others[a]) {
        to_offset += rest % others[a] * plan.strides[0][a];
        from_offset += rest % others[a] * plan.strides[1][a];
      }
      for (int64_t row = 0; row < rows; row += turned_rows) {
        turn_words(to + (to_offset + row) * bytes, to_stride, from + (from_offset + row * from_stride) * bytes,
                   from_stride, std::min(turned_rows, rows - row), std::min(turned_columns, columns - column));
      }
    }
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
