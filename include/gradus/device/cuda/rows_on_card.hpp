// How kernels go through rows, a warp or a block each, whose threads keep their part of a row in registers.
#pragma once

#include <algorithm>

#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_rows_text = R"cuda(
// A thread keeps its part of a row, at most `number` elements, in registers: memory is read once. Number 0 is for rows
// that are longer or do not lie in packs: they are read again, out of the cache.
const int wide = 16 / static_cast<int>(sizeof(T));

// A place in a row; in one that is kept an int, which takes half the instructions.
template <int P>
struct PlaceIn {
  typedef int type;
};
template <>
struct PlaceIn<0> {
  typedef int64 type;
};
template <int P>
using Column = typename PlaceIn<P>::type;
// visit(p, i) for the packs of a row that are this thread's: W elements from i on, kept as number p of P.
template <int W, int P, class Visit>
GRADUS_DEVICE void each_pack(const Team& team, int64 n, const Visit& visit) {
  if (P > 0) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int i = (p * team.size + team.lane) * W;
      if (i < static_cast<int>(n)) visit(p, i);
    }
  } else {
    for (int64 i = team.lane * W; i < n; i += team.size * W) visit(0, i);
  }
}
// What is this thread's of a row; of none, which is null, each element is `missing`. All of it is asked for before any is
// looked at.
template <int W, int P>
struct Row {
  Words<T, W> kept[P > 0 ? P : 1];
  const T* from;
  __device__ __forceinline__ void fetch(const Team& team, int64 n, const T* row, C missing = C(0)) {
    from = row;
    Pack<C, W> none;
#pragma unroll
    for (int k = 0; k < W; ++k) none.at[k] = missing;
#pragma unroll
    for (int p = 0; p < (P > 0 ? P : 1); ++p) kept[p] = narrow_pack<T>(none);
    if (P > 0 && from != 0) each_pack<W, P>(team, n, [&](int p, Column<P> i) { kept[p] = load_pack<W>(from + i); });
  }
  __device__ __forceinline__ Pack<C, W> pack(int p, int64 i) const {
    return widen_pack(P > 0 || from == 0 ? kept[p] : load_pack<W>(from + i));
  }
};
)cuda";

/// Rows of n elements of T: by a warp or a block each, with so many elements of a row kept in a thread's registers, or
/// none where rows are too long or do not lie in packs of 16 bytes.
template <class T>
struct RowsOnCard {
  int64_t rows;
  bool by_warps;
  int threads = 256;  ///< of a block
  cuda::detail::KernelText text;

  /// `program`: the family's text, which cuda_rows_text is in front of. `places`: where rows and parameters are, or
  /// null. `most`: elements that a thread keeps, so that what it has of them (two numbers each, unless another is
  /// given) fits its 128 registers.
  RowsOnCard(const char* name, std::string_view program, int64_t count, int64_t n,
             std::initializer_list<const void*> places, int64_t most = sizeof(T) == 8 ? 8 : 16)
      : rows(count), by_warps(n <= 4096), text{name, program, false, 0} {
    auto is_aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
    if (n * int64_t{sizeof(T)} % 16 != 0 || !std::all_of(places.begin(), places.end(), is_aligned)) return;
    if (n > 256 * most) return;
    by_warps = n <= 32 * most;
    if (n <= 128 * 8) threads = 128;  // the rest of a larger block would be idle
    if (by_warps) threads = 256;
    auto across = by_warps ? 32 : threads;
    text.number = static_cast<int>(std::max<int64_t>(1, (n + 8 * across - 1) / (8 * across)) * 8);
  }

  bool keeps() const { return text.number > 0; }
  cuda::detail::Grid grid() const {
    return {std::min(by_warps ? (rows + 7) / 8 : rows, cuda::detail::most_blocks), threads};
  }
  /// Several rows for each warp or block, so that there are few sums; by the shape alone, for the same bits everywhere.
  cuda::detail::Grid summing_grid() const { return {std::clamp<int64_t>(rows / (by_warps ? 16 : 4), 1, 512), threads}; }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
