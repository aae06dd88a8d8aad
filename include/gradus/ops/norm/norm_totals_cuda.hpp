// The last step of a norm's gradient on a GPU: totals of sums over parts.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_totals_text = R"cuda(
// Totals over the parts of partial (1 or 2, parts, n): to totals (1 or 2, n), and rounded to first and second (n,); what
// is null is not written. A block has 32 columns of one of them, and each of its warps an eighth of the parts.
GRADUS_KERNEL block_norm_totals(int64 n, int64 parts, int64 count, C* totals, T* first, T* second, const C* partial) {
  __shared__ C of_warps[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64 strips = (n + 31) / 32;
  for (int64 task = blockIdx.x; task < count * strips; task += gridDim.x) {
    const int64 which = task / strips, column = (task - which * strips) * 32 + lane;
    C sum = 0;
    if (column < n) {
#pragma unroll 8
      for (int64 part = warp; part < parts; part += 8) sum += partial[(which * parts + part) * n + column];
    }
    of_warps[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < n) {
      C total = 0;
#pragma unroll
      for (int w = 0; w < 8; ++w) total += of_warps[w][lane];
      T* rounded = which == 0 ? first : second;
      if (totals != 0) totals[which * n + column] = total;
      if (rounded != 0) rounded[column] = narrow<T>(total);
    }
    __syncthreads();
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm_totals{"norm_totals", cuda_norm_totals_text};

/// Totals over the parts of partial (1 or 2, parts, n): to `totals` (1 or 2, n), and rounded to `first` and `second`
/// (n,), where these are defined.
template <Floating T>
void norm_totals_on_card(const char* op, const Tensor<Compute<T>>& partial, const Tensor<Compute<T>>& totals,
                         const Tensor<T>& first, const Tensor<T>& second) {
  auto count = partial.size(0), parts = partial.size(1), n = partial.size(2);
  cuda::detail::launch_blocks(op, partial.device(), cuda_norm_totals, {dtype_of<T>}, "block_norm_totals",
                              count * ((n + 31) / 32), n, parts, count, memory_or_null(totals), memory_or_null(first),
                              memory_or_null(second), partial.data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
