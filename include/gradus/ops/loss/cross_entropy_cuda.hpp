// Cross entropy on a GPU: a block a row.
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_cross_entropy_text = R"cuda(
// log(sum(exp(row))) in two parts, as RowTotal on the host; every thread gets them.
struct RowTotal {
  C top, log_sum;
};
// In one pass: the sum so far is scaled again when a larger element comes.
template <int W>
GRADUS_DEVICE RowTotal row_total(const T* row, int64 n) {
  const C lowest = -from_infinity(C(0));
  C top = lowest, total = 0;
  in_bunches<2>(
      threadIdx.x * W, n, blockDim.x * W, [&](int64 i) { return load_pack<W>(row + i); },
      [&](int64, const Words<T, W>& read) {
        const Pack<C, W> pack = widen_pack(read);
        C high = lowest;
#pragma unroll
        for (int k = 0; k < W; ++k) high = maximum(high, pack.at[k]);
        if (high > top) {
          total *= exp(top - high);
          top = high;
        }
        if (high == lowest) return;  // nothing but minus infinities
#pragma unroll
        for (int k = 0; k < W; ++k) total += exp(pack.at[k] - top);
      });
  RowTotal result;
  result.top = block_reduce<Largest>(top, lowest);
  total = top == lowest ? total : total * exp(top - result.top);
  result.log_sum = log(block_reduce<Sum>(total, C(0)));
  return result;
}
GRADUS_DEVICE RowTotal row_total(const T* row, int64 n) {
  return in_packs(n, row) ? row_total<16 / sizeof(T)>(row, n) : row_total<1>(row, n);
}

// What cross entropy needs of each row: its total, its loss, and whether it counts.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 2)
block_cross_entropy(int64 rows, int64 classes, int64 ignored, C smoothing, Fault* fault, int64 op, C* totals, C* losses,
                    C* counts, const T* logits, const int64* labels) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* x = logits + row * classes;
    const RowTotal total = row_total(x, classes);
    C even = 0;
    if (smoothing > C(0)) {
      for (int64 i = threadIdx.x; i < classes; i += blockDim.x) even -= (widen(x[i]) - total.top) - total.log_sum;
      even = block_reduce<Sum>(even, C(0));
    }
    if (threadIdx.x == 0) {
      const int64 label = labels[row];
      const bool counts_here = label != ignored;
      C loss = 0;
      if (counts_here) {
        loss = -((widen(x[checked_index(label, classes, 0, fault, op)]) - total.top) - total.log_sum);
        loss = (C(1) - smoothing) * loss + smoothing / C(classes) * even;
      }
      totals[2 * row] = total.top;
      totals[2 * row + 1] = total.log_sum;
      losses[row] = loss;
      counts[row] = counts_here ? C(1) : C(0);
    }
  }
}
// scale (softmax - target); scale is dy over the number of rows that count, or dy of the row.
template <int W>
GRADUS_DEVICE void cross_entropy_row(int64 classes, int64 label, C top, C log_sum, C spread, C hit, C scale, T* dx,
                                     const T* logits) {
  in_bunches<2>(
      threadIdx.x * W, classes, blockDim.x * W, [&](int64 i) { return load_pack<W>(logits + i); },
      [&](int64 i, const Words<T, W>& read) {
        Pack<C, W> pack = widen_pack(read);
#pragma unroll
        for (int k = 0; k < W; ++k) pack.at[k] = (exp((pack.at[k] - top) - log_sum) - spread) * scale;
        const int64 place = label - i;
        if (place >= 0 && place < W) {
#pragma unroll
          for (int k = 0; k < W; ++k) pack.at[k] -= place == k ? hit : C(0);
        }
        store_pack(dx + i, narrow_pack<T>(pack));
      });
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL cross_entropy_gradient(int64 rows, int64 classes, int64 ignored, C smoothing, int per_row, T* dx,
                                     const T* logits, const int64* labels, const C* totals, const T* dy,
                                     const C* counted) {
  const C spread = smoothing / C(classes);
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64 label = labels[row];
    const T* from = logits + row * classes;
    T* to = dx + row * classes;
    if (label == ignored) {
      for (int64 i = threadIdx.x; i < classes; i += blockDim.x) to[i] = narrow<T>(C(0));
      continue;
    }
    const C scale = per_row ? widen(dy[row]) : widen(dy[0]) / (counted != 0 ? counted[0] : C(1));
    const C hit = (C(1) - smoothing) * scale, top = totals[2 * row], log_sum = totals[2 * row + 1];
    if (in_packs(classes, from, static_cast<const T*>(to)))
      cross_entropy_row<16 / sizeof(T)>(classes, label, top, log_sum, spread, hit, scale, to, from);
    else cross_entropy_row<1>(classes, label, top, log_sum, spread, hit, scale, to, from);
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_cross_entropy{"cross_entropy", cuda_cross_entropy_text};

}  // namespace gradus::detail::inline GRADUS_BUILD
