// Passes over a run of memory in registers, whose last one may be filled in part.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/simd.hpp"
#include "gradus/device/cpu/stream.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// lanes = the first `count` numbers at `from`, then zeros.
template <class T>
GRADUS_INLINE void fill_lanes(const T* from, int64_t count, T (&lanes)[simd_lanes]) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  auto mask = static_cast<uint32_t>((1u << count) - 1);
  if constexpr (sizeof(T) == 2) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), from));
    return;
  } else if constexpr (sizeof(T) == 4) {
    _mm512_store_si512(lanes, _mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask), from));
    return;
  }
#endif
  for (int64_t i = 0; i < simd_lanes; ++i) lanes[i] = i < count ? from[i] : T();
}

/// The first `count` lanes to memory, at most 15: by powers of two, for masked stores of two bytes are slow on some
/// processors.
template <class T>
GRADUS_INLINE void copy_lanes(const T (&lanes)[simd_lanes], int64_t count, T* to) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_epi32(to, static_cast<__mmask16>((1u << count) - 1), _mm512_load_si512(lanes));
    return;
  }
#endif
  auto* from = &lanes[0];
  auto copy = [&](int64_t size) GRADUS_INLINE_LAMBDA {
    if ((count & size) == 0) return;
    std::memcpy(to, from, static_cast<size_t>(size) * sizeof(T));
    from += size, to += size;
  };
  copy(8);
  copy(4);
  copy(2);
  copy(1);
}

/// The first `count` lanes from memory, zeros in the others.
template <class C, class T>
GRADUS_INLINE Simd<C> load_some(const T* from, int64_t count) {
  if (count == simd_lanes) return Simd<C>::load(from);
  alignas(64) T lanes[simd_lanes];
  fill_lanes(from, count, lanes);
  return Simd<C>::load(lanes);
}

/// Calls body(i, lanes, count) over a row in registers; lanes beyond the end hold `fill`.
template <class T, class Body>
GRADUS_INLINE void for_each_register(const T* row, int64_t n, Compute<T> fill, Body&& body) {
  using C = Compute<T>;
  int64_t i = 0;
  for (; i + simd_lanes <= n; i += simd_lanes) body(i, Simd<C>::load(row + i), int64_t{simd_lanes});
  if (i == n) return;
  alignas(64) static constexpr C numbers[simd_lanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  auto in_row = Simd<C>::load(numbers) < Simd<C>(n - i);
  body(i, where(in_row, load_some<C>(row + i, n - i), Simd<C>(fill)), n - i);
}

template <class C, class T>
GRADUS_INLINE void store_some(const Simd<C>& value, T* to, int64_t count) {
  if (count == simd_lanes) return value.store(to);
  alignas(64) T lanes[simd_lanes];
  value.store(lanes);
  copy_lanes(lanes, count, to);
}

/// step(... step(start, lanes, 0) ..., lanes, i) over a row, as four chains side by side that `merge` joins: one chain
/// waits for its own result at each register. Lanes beyond the end hold `fill`.
template <class T, class Step, class Merge, class C = Compute<T>>
GRADUS_INLINE Simd<C> fold_row(const T* row, int64_t n, C start, C fill, Step step, Merge merge) {
  Simd<C> chains[4] = {start, start, start, start};
  int64_t i = 0;
  for (; i + 4 * simd_lanes <= n; i += 4 * simd_lanes) {
    GRADUS_UNROLL
    for (int k = 0; k < 4; ++k) {
      chains[k] = step(chains[k], Simd<C>::load(row + i + k * simd_lanes), i + k * simd_lanes);
    }
  }
  for_each_register(row + i, n - i, fill, [&](int64_t rest, const Simd<C>& x, int64_t) GRADUS_INLINE_LAMBDA {
    chains[0] = step(chains[0], x, i + rest);
  });
  return merge(merge(chains[0], chains[1]), merge(chains[2], chains[3]));
}

/// The sum of a row of numbers in registers: a step of fold_row, a merge of it and of fold_lanes.
inline constexpr auto add_lanes = [](const auto& a, const auto& b, auto...) GRADUS_INLINE_LAMBDA { return a + b; };

/// Whether a result of `rows` rows of n goes past the caches: it is large, and its rows end with whole registers.
template <class T>
bool rows_are_streamed(int64_t rows, int64_t n) {
  return n % simd_lanes == 0 && is_streamed(rows * n * static_cast<int64_t>(sizeof(T)));
}

/// As store_some; past the caches where the result is streamed. stream_fence() must follow.
template <class C, class T>
GRADUS_INLINE void store_row(const Simd<C>& value, T* to, int64_t count, bool streamed) {
  if (!streamed) return store_some(value, to, count);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_stream_ps(to, value.p[0]);
#endif
  alignas(64) T lanes[simd_lanes];
  value.store(lanes);
  stream_out(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(lanes), sizeof(lanes));
}

/// Asks for what lies so many elements further on, which may be beyond the end: passes over a row that is in the cache
/// leave the memory idle unless they fetch the row that follows.
template <class T>
GRADUS_INLINE void fetch_beyond(const T* from, int64_t elements) {
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(elements) * sizeof(T)));
}

/// to[i] = from[i], converted.
template <class From, class To>
void convert_run(const From* from, int64_t n, To* to) {
  using C = Compute<From>;
  for_each_register(from, n, C(0), [&](int64_t i, const Simd<C>& x, int64_t count) { store_some(x, to + i, count); });
}

/// Lane i of the result is lane (i + by) of x, counted round.
template <int by, class C, size_t... lane>
GRADUS_INLINE Packet<C> rotated(const Packet<C>& x, std::index_sequence<lane...>) {
  return __builtin_shufflevector(x, x, static_cast<int>((lane + by) % sizeof...(lane))...);
}

/// Halves the lanes until one is left: the same tree everywhere. In registers where `combine` can.
template <class C, class Combine>
C fold_lanes(const Simd<C>& value, Combine combine) {
  if constexpr (std::is_invocable_r_v<Simd<C>, Combine, const Simd<C>&, const Simd<C>&>) {
    auto fold = [&]<int width>(auto& self, Simd<C> x, std::integral_constant<int, width>) GRADUS_INLINE_LAMBDA {
      if constexpr (width == 0) {
        return x.lane(0);
      } else {
        auto other = x;
        GRADUS_UNROLL
        for (int k = 0; k < Simd<C>::packets; ++k) {
          constexpr int lanes = Simd<C>::packet_lanes;
          if constexpr (width >= lanes) other.p[k] = x.p[(k + width / lanes) % Simd<C>::packets];
          else other.p[k] = rotated<width, C>(x.p[k], std::make_index_sequence<lanes>{});
        }
        return self(self, combine(x, other), std::integral_constant<int, width / 2>{});
      }
    };
    return fold(fold, value, std::integral_constant<int, simd_lanes / 2>{});
  } else {
    alignas(64) C lanes[simd_lanes];
    value.store(lanes);
    for (int width = simd_lanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) lanes[lane] = combine(lanes[lane], lanes[lane + width]);
    }
    return lanes[0];
  }
}

/// Runs body(first, last) over all rows, several rows a chunk.
template <class Body>
void for_row_chunks(int64_t rows, int64_t width, Body&& body) {
  width = std::max<int64_t>(width, 1);
  parallel_for(rows, std::max<int64_t>(1, std::clamp<int64_t>(rows * width / 64, 8192, 65536) / width), body);
}

/// Runs body(row number) over all rows; `streamed`: what they write goes past the caches.
template <class Body>
void for_rows(int64_t rows, int64_t width, Body&& body, bool streamed = false) {
  for_row_chunks(rows, width, [&](int64_t first, int64_t last) {
    for (auto row = first; row < last; ++row) body(row);
    if (streamed) stream_fence();
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
