// The gradient of largest elements of windows of 2 x 2 side by side, the commonest pooling: registers of windows,
// without branches.
#pragma once

#include <algorithm>
#include <utility>

#include "gradus/device/cpu/gemm_kernel.hpp"
#include "gradus/ops/window/pool_shape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline bool are_quads(const PoolShape& s) {
  using Pair = std::array<int64_t, 2>;
  return s.kh == 2 && s.kw == 2 && s.stride == Pair{2, 2} && s.padding == Pair{0, 0} && s.dilation == Pair{1, 1} &&
         2 * s.oh <= s.h && 2 * s.ow <= s.w;
}

template <class C, int N>
using QuadLanes = typename VectorOf<C, N>::in_memory;

/// Numbers of `even` and `odd` in turn.
template <class C, int N, size_t... Lane>
GRADUS_INLINE void join_pairs(const QuadLanes<C, N>& even, const QuadLanes<C, N>& odd, C* to,
                              std::index_sequence<Lane...>) {
  using V = QuadLanes<C, N>;
  *reinterpret_cast<V*>(to) = __builtin_shufflevector(even, odd, static_cast<int>(Lane / 2 + Lane % 2 * N)...);
  *reinterpret_cast<V*>(to + N) =
      __builtin_shufflevector(even, odd, static_cast<int>(N / 2 + Lane / 2 + Lane % 2 * N)...);
}

/// Two rows of an image from a row of at least N quads, the last register ending where the row does: y where `from`
/// says, and zeros. `first` is the place of the first quad.
template <class C, int N>
void put_quad_row(const C* y, const int32_t* from, int64_t windows, int32_t first, int32_t width, C* above, C* below) {
  using V = QuadLanes<C, N>;
  using I = QuadLanes<int32_t, N>;
  using M = QuadLanes<std::conditional_t<sizeof(C) == 4, int32_t, int64_t>, N>;
  I lane;
  for (int i = 0; i < N; ++i) lane[i] = 2 * i;
  auto lanes = std::make_index_sequence<N>();
  for (int64_t next = 0; next < windows; next += N) {
    auto j = std::min(next, windows - N);
    auto value = *reinterpret_cast<const V*>(y + j);
    I place = *reinterpret_cast<const I*>(from + j) - lane - (first + static_cast<int32_t>(2 * j));
    auto at = [&](int32_t wanted) GRADUS_INLINE_LAMBDA -> V {
      I same = place == wanted;
      return __builtin_convertvector(same, M) ? value : V{};
    };
    join_pairs<C, N>(at(0), at(1), above + 2 * j, lanes);
    join_pairs<C, N>(at(width), at(width + 1), below + 2 * j, lanes);
  }
}

/// Planes of zeros, plus y at `from`, for quads that fill it; false, and nothing done, for others.
template <class C>
bool put_quads(const PoolShape& s, int64_t planes, const C* y, const int32_t* from, C* x) {
  if (!are_quads(s) || s.h != 2 * s.oh || s.w != 2 * s.ow || s.ow < 4) return false;
  constexpr int widest = GemmTile<C>::lanes;
  auto* row = s.ow >= 16  ? put_quad_row<C, std::min(16, widest)>
              : s.ow >= 8 ? put_quad_row<C, std::min(8, widest)>
                          : put_quad_row<C, std::min(4, widest)>;
  for (int64_t i = 0; i < planes * s.oh; ++i) {  // planes lie behind each other
    auto* above = x + 2 * i * s.w;
    row(y + i * s.ow, from + i * s.ow, s.ow, static_cast<int32_t>(2 * (i % s.oh) * s.w), static_cast<int32_t>(s.w),
        above, above + s.w);
  }
  return true;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
