// Transposing a square of numbers in registers.
#pragma once

#include <cstddef>
#include <utility>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Lanes of a where the lane's number has the bit D clear, and of b, moved up by D, elsewhere; `High`: lanes of a,
/// moved down by D, and of b.
template <int D, bool High, class P, size_t... Lane>
GRADUS_INLINE P merge_lanes(P a, P b, std::index_sequence<Lane...>) {
  constexpr auto from_a = [](size_t lane) { return static_cast<int>(High ? lane + D : lane); };
  constexpr auto from_b = [](size_t lane) { return static_cast<int>(sizeof...(Lane) + (High ? lane : lane - D)); };
  return __builtin_shufflevector(a, b, ((Lane & D) == 0 ? from_a(Lane) : from_b(Lane))...);
}

/// Transposes a square of N registers by exchanging blocks of D x D beside the diagonal, for D = N / 2 ... 1; registers
/// of more than N lanes hold several squares side by side.
/// (Eigen's ptranspose makes g++ 12 warn of uninitialised values on AVX-512, in the user's program.)
template <int D, class P, int N>
GRADUS_INLINE void transpose_registers(P (&row)[N]) {
  if constexpr (D > 0) {
    using Lanes = std::make_index_sequence<sizeof(P) / sizeof(row[0][0])>;
    GRADUS_UNROLL
    for (int i = 0; i < N; ++i) {
      if ((i & D) != 0) continue;
      auto low = merge_lanes<D, false>(row[i], row[i + D], Lanes());
      row[i + D] = merge_lanes<D, true>(row[i], row[i + D], Lanes());
      row[i] = low;
    }
    transpose_registers<D / 2>(row);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
