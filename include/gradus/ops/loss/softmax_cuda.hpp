// softmax, log_softmax and cross entropy on a GPU: a block a row.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/storage.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_softmax_text = R"cuda(
// log(sum(exp(row))) in two parts, as RowTotal on the host; every thread gets them.
struct RowTotal {
  C top, log_sum;
};
// In one pass: the sum so far is scaled again when a larger element comes.
template <int W>
GRADUS_DEVICE RowTotal row_total(const T* row, int64 n) {
  const C lowest = -from_infinity(C(0));
  C top = lowest, total = 0;
  for (int64 i = threadIdx.x * W; i < n; i += blockDim.x * W) {
    const Pack<T, W> pack = load_pack<W>(row + i);
    C high = lowest;
#pragma unroll
    for (int k = 0; k < W; ++k) high = maximum(high, widen(pack.at[k]));
    if (high > top) {
      total *= exp(top - high);
      top = high;
    }
    if (high == lowest) continue;  // nothing but minus infinities
#pragma unroll
    for (int k = 0; k < W; ++k) total += exp(widen(pack.at[k]) - top);
  }
  RowTotal result;
  result.top = block_reduce<Largest>(top, lowest);
  total = top == lowest ? total : total * exp(top - result.top);
  result.log_sum = log(block_reduce<Sum>(total, C(0)));
  return result;
}
GRADUS_DEVICE RowTotal row_total(const T* row, int64 n) {
  return in_packs(n, row) ? row_total<16 / sizeof(T)>(row, n) : row_total<1>(row, n);
}

GRADUS_WIDE(T, 0)
GRADUS_KERNEL block_softmax(int64 rows, int64 n, int logarithm, T* y, const T* x) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* from = x + row * n;
    T* to = y + row * n;
    const RowTotal total = row_total(from, n);
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      const C value = (widen(from[i]) - total.top) - total.log_sum;
      to[i] = narrow<T>(logarithm ? value : exp(value));
    }
  }
}
// dx = y (dy - sum(dy y)), or of log_softmax dy - exp(y) sum(dy).
GRADUS_KERNEL block_softmax_gradient(int64 rows, int64 n, int logarithm, T* dx, const T* y, const T* dy) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T *p = y + row * n, *d = dy + row * n;
    T* to = dx + row * n;
    C total = 0;
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) total += logarithm ? widen(d[i]) : widen(d[i]) * widen(p[i]);
    total = block_reduce<Sum>(total, C(0));
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      const C value = logarithm ? widen(d[i]) - exp(widen(p[i])) * total : widen(p[i]) * (widen(d[i]) - total);
      to[i] = narrow<T>(value);
    }
  }
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
  for (int64 i = threadIdx.x * W; i < classes; i += blockDim.x * W) {
    const Pack<T, W> pack = load_pack<W>(logits + i);
    Pack<T, W> result;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      C value = (exp((widen(pack.at[k]) - top) - log_sum) - spread) * scale;
      if (i + k == label) value -= hit;
      result.at[k] = narrow<T>(value);
    }
    store_pack(dx + i, result);
  }
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
inline constexpr cuda::detail::KernelText cuda_softmax{"softmax", cuda_softmax_text};

/// Rows of x (rows, n), dense.
inline void softmax_on_card(const char* op, const TensorImpl& x, TensorImpl& y, int64_t n, bool logarithm) {
  auto rows = x.numel / std::max<int64_t>(n, 1);
  cuda::detail::launch_blocks(op, x.storage->device(), cuda_softmax, {x.dtype}, "block_softmax", rows, rows, n,
                              logarithm ? 1 : 0, y.data(), x.data());
}
inline TensorRef softmax_gradient_on_card(const char* op, const TensorImpl& y, const TensorImpl& dy, int64_t n,
                                          bool logarithm) {
  auto dx = allocate_impl(y.dtype, y.shape, y.storage->device());
  auto rows = y.numel / std::max<int64_t>(n, 1);
  cuda::detail::launch_blocks(op, y.storage->device(), cuda_softmax, {y.dtype}, "block_softmax_gradient", rows, rows, n,
                              logarithm ? 1 : 0, dx->data(), y.data(), dy.data());
  return dx;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
