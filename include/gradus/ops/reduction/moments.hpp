// Mean and spread of runs of memory that is read once: block by block around each block's own mean, merged in order
// (Chan et al., 1979).
#pragma once

#include "gradus/device/cpu/simd_rows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

template <class C>
struct Moments {
  C mean = 0, spread = 0, count = 0;  ///< spread: the sum of squared distances to the mean

  void merge(const Moments& other) {
    if (other.count == 0) return;
    if (count == 0) return static_cast<void>(*this = other);
    auto total = count + other.count, difference = other.mean - mean;
    spread += other.spread + difference * difference * (count * other.count / total);
    mean += difference * (other.count / total);
    count = total;
  }
};

/// Of `count` runs of `size` numbers, `stride` apart, few enough to be in the first cache when they are read again.
template <Floating T>
Moments<Compute<T>> block_moments(const T* x, int64_t count, int64_t size, int64_t stride) {
  using C = Compute<T>;
  Simd<C> total(C(0)), squares(C(0));
  for (int64_t i = 0; i < count; ++i) total = total + fold_row(x + i * stride, size, C(0), C(0), add_lanes, add_lanes);
  auto mean = fold_lanes(total, add_lanes) / static_cast<C>(count * size);
  Simd<C> center(mean);
  auto add_square = [&](const Simd<C>& sum, const Simd<C>& v, int64_t)
                        GRADUS_INLINE_LAMBDA { return fma(v - center, v - center, sum); };
  for (int64_t i = 0; i < count; ++i)
    squares = squares + fold_row(x + i * stride, size, C(0), mean, add_square, add_lanes);
  return {mean, fold_lanes(squares, add_lanes), static_cast<C>(count * size)};
}

/// So many numbers are looked at together.
inline constexpr int64_t moments_block = 2048;
inline int64_t runs_in_block(int64_t size) { return std::max<int64_t>(1, moments_block / std::max<int64_t>(size, 1)); }
/// Adds runs, no more than runs_in_block(size).
template <Floating T>
void add_runs(const T* x, int64_t count, int64_t size, int64_t stride, Moments<Compute<T>>& moments) {
  if (size <= moments_block) return moments.merge(block_moments(x, count, size, stride));
  for (int64_t k = 0; k < size; k += moments_block)
    moments.merge(block_moments(x + k, 1, std::min(moments_block, size - k), 0));
}

/// Of one run of any size.
template <Floating T>
Moments<Compute<T>> run_moments(const T* x, int64_t size) {
  Moments<Compute<T>> moments;
  add_runs(x, 1, size, 0, moments);
  return moments;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
