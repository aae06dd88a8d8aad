// Rotary positions on a GPU.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/cuda_loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_rotary_text = R"cuda(
// Turns pairs of numbers i and i + half of each head by angles; y lies as (n, tokens, heads, size).
GRADUS_KERNEL turn_heads(int64 count, const __grid_constant__ Divisor heads, const __grid_constant__ Divisor tokens,
                         const __grid_constant__ Divisor size, int64 half, int64 first, C flip, int64 stride_n,
                         int64 stride_head, int64 stride_token, T* y, const T* x, const T* cosines, const T* sines) {
  GRADUS_EACH(i, count) {
    const int64 row = size.of(i), column = i - row * size.size, line = heads.of(row), n = tokens.of(line);
    const int64 head = row - line * heads.size, token = line - n * tokens.size;
    const T* from = x + n * stride_n + head * stride_head + token * stride_token;
    if (column >= 2 * half) {
      y[i] = from[column];
      continue;
    }
    const int64 pair = column < half ? column : column - half, angle = (first + token) * half + pair;
    const C a = widen(from[pair]), b = widen(from[pair + half]), c = widen(cosines[angle]),
            s = widen(sines[angle]) * flip;
    y[i] = narrow<T>(column < half ? a * c - b * s : b * c + a * s);
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_rotary{"rotary", cuda_rotary_text};

}  // namespace gradus::detail::inline GRADUS_BUILD
