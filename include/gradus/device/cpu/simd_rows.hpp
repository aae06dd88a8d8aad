// Passes over a run of memory in registers, whose last one may be filled in part.
#pragma once

#include <algorithm>

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/simd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// The first `count` lanes from memory, zeros in the others.
template <class C, class T>
GRADUS_INLINE Simd<C> load_some(const T* from, int64_t count) {
  if (count == simd_lanes) return Simd<C>::load(from);
  alignas(64) C lanes[simd_lanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = static_cast<C>(from[i]);
  return Simd<C>::load(lanes);
}

/// Calls body(i, lanes, count) over a row in registers; lanes beyond the end hold `fill`.
template <class T, class Body>
GRADUS_INLINE void for_each_register(const T* row, int64_t n, Compute<T> fill, Body&& body) {
  using C = Compute<T>;
  int64_t i = 0;
  for (; i + simd_lanes <= n; i += simd_lanes) body(i, Simd<C>::load(row + i), int64_t{simd_lanes});
  if (i == n) return;
  alignas(64) C lanes[simd_lanes];
  for (int64_t lane = 0; lane < simd_lanes; ++lane) lanes[lane] = i + lane < n ? static_cast<C>(row[i + lane]) : fill;
  body(i, Simd<C>::load(lanes), n - i);
}

template <class C, class T>
GRADUS_INLINE void store_some(const Simd<C>& value, T* to, int64_t count) {
  if (count == simd_lanes) return value.store(to);
  alignas(64) T lanes[simd_lanes];
  value.store(lanes);
  std::copy_n(lanes, count, to);
}

/// to[i] = from[i], converted.
template <class From, class To>
void convert_run(const From* from, int64_t n, To* to) {
  using C = Compute<From>;
  for_each_register(from, n, C(0), [&](int64_t i, const Simd<C>& x, int64_t count) { store_some(x, to + i, count); });
}

/// Halves the lanes until one is left: the same tree everywhere.
template <class C, class Combine>
C fold_lanes(const Simd<C>& value, Combine combine) {
  alignas(64) C lanes[simd_lanes];
  value.store(lanes);
  for (int width = simd_lanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] = combine(lanes[lane], lanes[lane + width]);
  }
  return lanes[0];
}

/// Runs body(row number) over all rows, several rows a chunk.
template <class Body>
void for_rows(int64_t rows, int64_t width, Body&& body) {
  parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(width, 1)), [&](int64_t first, int64_t last) {
    for (auto row = first; row < last; ++row) body(row);
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
