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
GRADUS_DEVICE RowTotal row_total(const T* row, int64 n) {
  const C lowest = -from_infinity(C(0));
  C top = lowest;
  for (int64 i = threadIdx.x; i < n; i += blockDim.x) top = maximum(top, widen(row[i]));
  top = block_reduce<Largest>(top, lowest);
  C total = 0;
  for (int64 i = threadIdx.x; i < n; i += blockDim.x) total += exp(widen(row[i]) - top);
  RowTotal result;
  result.top = top;
  result.log_sum = log(block_reduce<Sum>(total, C(0)));
  return result;
}

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
GRADUS_KERNEL block_cross_entropy(int64 rows, int64 classes, int64 ignored, C smoothing, Fault* fault, int64 op,
                                  C* totals, C* losses, C* counts, const T* logits, const int64* labels) {
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
GRADUS_KERNEL cross_entropy_gradient(int64 rows, int64 classes, int64 ignored, C smoothing, int per_row, T* dx,
                                     const T* logits, const int64* labels, const C* totals, const T* dy,
                                     const C* counted) {
  const C spread = smoothing / C(classes);
  GRADUS_EACH(i, rows * classes) {
    const int64 row = i / classes, column = i % classes, label = labels[row];
    C value = 0;
    if (label != ignored) {
      const C scale = per_row ? widen(dy[row]) : widen(dy[0]) / (counted != 0 ? counted[0] : C(1));
      value = (exp((widen(logits[i]) - totals[2 * row]) - totals[2 * row + 1]) - spread) * scale;
      if (column == label) value -= (C(1) - smoothing) * scale;
    }
    dx[i] = narrow<T>(value);
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
