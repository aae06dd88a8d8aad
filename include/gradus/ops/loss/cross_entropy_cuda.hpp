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

// The loss of a row, which thread 0 gets.
GRADUS_DEVICE C row_loss(const RowTotal& total, int64 classes, int64 label, int64 ignored, C smoothing, Fault* fault,
                         int64 op, const T* x) {
  C even = 0;
  if (smoothing > C(0)) {
    for (int64 i = threadIdx.x; i < classes; i += blockDim.x) even -= (widen(x[i]) - total.top) - total.log_sum;
    even = block_reduce<Sum>(even, C(0));
  }
  if (threadIdx.x != 0 || label == ignored) return C(0);
  const C loss = -((widen(x[checked_index(label, classes, 0, fault, op)]) - total.top) - total.log_sum);
  return (C(1) - smoothing) * loss + smoothing / C(classes) * even;
}
// What cross entropy needs of each row: its total, its loss, and whether it counts.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 2)
block_cross_entropy(int64 rows, int64 classes, int64 ignored, C smoothing, Fault* fault, int64 op, C* totals, C* losses,
                    C* counts, const T* logits, const int64* labels) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* x = logits + row * classes;
    const RowTotal total = row_total(x, classes);
    const C loss = row_loss(total, classes, labels[row], ignored, smoothing, fault, op, x);
    if (threadIdx.x == 0) {
      totals[2 * row] = total.top;
      totals[2 * row + 1] = total.log_sum;
      losses[row] = loss;
      counts[row] = labels[row] != ignored ? C(1) : C(0);
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
// The same with all that follows from the options, and zeros where the row is ignored.
GRADUS_DEVICE void gradient_of_row(const RowTotal& total, int64 classes, int64 label, int64 ignored, C smoothing, C scale,
                                   T* to, const T* from) {
  if (label == ignored) {
    for (int64 i = threadIdx.x; i < classes; i += blockDim.x) to[i] = narrow<T>(C(0));
    return;
  }
  const C spread = smoothing / C(classes), hit = (C(1) - smoothing) * scale;
  if (in_packs(classes, from, static_cast<const T*>(to)))
    cross_entropy_row<16 / sizeof(T)>(classes, label, total.top, total.log_sum, spread, hit, scale, to, from);
  else cross_entropy_row<1>(classes, label, total.top, total.log_sum, spread, hit, scale, to, from);
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL cross_entropy_gradient(int64 rows, int64 classes, int64 ignored, C smoothing, int per_row, T* dx,
                                     const T* logits, const int64* labels, const C* totals, const T* dy,
                                     const C* counted) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const C scale = per_row ? widen(dy[row]) : widen(dy[0]) / (counted != 0 ? counted[0] : C(1));
    RowTotal total;
    total.top = totals[2 * row], total.log_sum = totals[2 * row + 1];
    gradient_of_row(total, classes, labels[row], ignored, smoothing, scale, dx + row * classes, logits + row * classes);
  }
}
// The loss of each row and its gradient over `counted`, which may be in the logits' place: the second look at a row is
// out of the cache.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_losses_and_gradients(int64 rows, int64 classes, int64 ignored, C smoothing, Fault* fault, int64 op, C* losses,
                           T* dx, const T* logits, const int64* labels, const C* counted) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* x = logits + row * classes;
    const int64 label = labels[row];
    const RowTotal total = row_total(x, classes);
    const C loss = row_loss(total, classes, label, ignored, smoothing, fault, op, x);
    if (threadIdx.x == 0) losses[row] = loss;
    __syncthreads();  // the label's logit has been read
    gradient_of_row(total, classes, label, ignored, smoothing, C(1) / (counted != 0 ? counted[0] : C(1)),
                    dx + row * classes, x);
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_cross_entropy{"cross_entropy", cuda_cross_entropy_text};

}  // namespace gradus::detail::inline GRADUS_BUILD
