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

/// Of any number of runs of any size.
template <Floating T>
Moments<Compute<T>> run_moments(const T* x, int64_t count, int64_t size, int64_t stride) {
  constexpr int64_t block = 2048;
  Moments<Compute<T>> moments;
  if (size > block) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t k = 0; k < size; k += block)
        moments.merge(block_moments(x + i * stride + k, 1, std::min(block, size - k), 0));
    }
  } else {
    auto together = size == 0 ? count : block / size;
    for (int64_t i = 0; i < count; i += together)
      moments.merge(block_moments(x + i * stride, std::min(together, count - i), size, stride));
  }
  return moments;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
