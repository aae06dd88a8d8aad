#pragma once

#include <optional>

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/compiled.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/pool_quads.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/window/window_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
Tensor<T> pool_put(const Tensor<T>& y_in, const Tensor<int32_t>& from, const PoolShape& s);

/// y[i] = x[from[i]] within each plane: x (n, c, h, w), from (n, c, oh, ow).
template <Floating T>
Tensor<T> pool_take(const Tensor<T>& x_in, const Tensor<int32_t>& from, const PoolShape& s) {
  auto x = contiguous(x_in);
  auto y = Tensor<T>::empty(from.shape(), x.device());
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto pixels = from.size(2) * from.size(3), plane = x.size(2) * x.size(3);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    launch_window("pool_take", *y.impl(), "pool_take", y.numel(), y.numel(), pixels, plane, to, x.data(), from.data());
  } else
#endif
    for_planes(from.size(0) * from.size(1), pixels, [&](int64_t p) {
      for (int64_t i = 0; i < pixels; ++i) to[p * pixels + i] = x.data()[p * plane + from.data()[p * pixels + i]];
    });
  return differentiable("pool_take", y, wrt(x, [from, s](const Tensor<T>& dy) { return pool_put(dy, from, s); }));
}

/// Zeros of the image's shape, plus y[i] at from[i]: the transpose of pool_take.
template <Floating T>
Tensor<T> pool_put(const Tensor<T>& y_in, const Tensor<int32_t>& from, const PoolShape& s) {
  using C = Compute<T>;
  auto y = contiguous(y_in);
  Shape shape{s.n, s.c, s.h, s.w};
  auto x = Tensor<T>::empty(shape, y.device());
  auto* to = reinterpret_cast<T*>(x.impl()->data());
  auto pixels = from.size(2) * from.size(3), plane = shape[2] * shape[3];
#if defined(GRADUS_CUDA)
  if (!y.device().is_cpu()) {
    launch_window("pool_put", *x.impl(), "pool_put", x.numel(), card_windows(s), to, y.data(), from.data());
  } else
#endif
    parallel_for(shape[0] * shape[1], planes_per_chunk(plane), [&](int64_t first, int64_t last) {
      Scratch<C> wide(std::is_same_v<T, C> ? 0 : plane);  // sums of two bytes would be rounded at every step
      for (auto p = first; p < last; ++p) {
        C* sums = wide.data();
        if constexpr (std::is_same_v<T, C>) {
          sums = to + p * plane;
          if (put_quads(s, y.data() + p * pixels, from.data() + p * pixels, sums)) continue;
        }
        std::fill_n(sums, plane, C(0));
        for (int64_t i = p * pixels; i < (p + 1) * pixels; ++i) sums[from.data()[i]] += static_cast<C>(y.data()[i]);
        if constexpr (!std::is_same_v<T, C>) convert_run(sums, plane, to + p * plane);
      }
    });
  return differentiable("pool_put", x, wrt(y, [from, s](const Tensor<T>& dx) { return pool_take(dx, from, s); }));
}

/// The largest element of each window and where it was: the first of several, but the last NaN.
template <class T>
void max_of_windows(const PoolShape& s, const T* x, T* y, int32_t* from) {
  for (int64_t i = 0; i < s.oh; ++i) {
    auto top = i * s.stride[0] - s.padding[0], left = -s.padding[1];
    for (int64_t j = 0; j < s.ow; ++j, left += s.stride[1]) {
      auto best = lowest_value<T>();
      int64_t at = -1;
      for (int64_t a = 0; a < s.kh; ++a) {
        auto row = top + a * s.dilation[0];
        if (row < 0 || row >= s.h) continue;
        for (int64_t b = 0; b < s.kw; ++b) {
          auto column = left + b * s.dilation[1];
          if (column < 0 || column >= s.w) continue;
          auto value = x[row * s.w + column];
          if (at < 0 || value > best || value != value) {
            best = value;
            at = row * s.w + column;
          }
        }
      }
      *y++ = best;
      *from++ = static_cast<int32_t>(at);
    }
  }
}

/// Numbers 0, 2, 4 ... 30 and 1, 3, 5 ... 31 of a row.
template <class T>
GRADUS_INLINE void load_even_odd(const T* from, Simd<float>& even, Simd<float>& odd) {
  constexpr int packets = Simd<float>::packets, lanes = Simd<float>::packet_lanes;
  if constexpr (std::is_same_v<T, bf16>) {  // two to 32 bits, each the upper half of its float
    typedef uint32_t Both __attribute__((vector_size(register_bytes), aligned(alignof(bf16)), may_alias));
    for (int k = 0; k < packets; ++k) {
      auto both = reinterpret_cast<Packet<uint32_t>>(*reinterpret_cast<const Both*>(from + 2 * k * lanes));
      even.p[k] = reinterpret_cast<Packet<float>>(both << 16);
      odd.p[k] = reinterpret_cast<Packet<float>>(both & 0xffff0000u);
    }
  } else {
    const Simd<float> row[] = {Simd<float>::load(from), Simd<float>::load(from + simd_lanes)};
    auto packet = [&](int k) GRADUS_INLINE_LAMBDA { return row[k / packets].p[k % packets]; };
    [&]<size_t... I>(std::index_sequence<I...>) GRADUS_INLINE_LAMBDA {
      for (int k = 0; k < packets; ++k) {
        even.p[k] = __builtin_shufflevector(packet(2 * k), packet(2 * k + 1), static_cast<int>(2 * I)...);
        odd.p[k] = __builtin_shufflevector(packet(2 * k), packet(2 * k + 1), static_cast<int>(2 * I + 1)...);
      }
    }
    (std::make_index_sequence<lanes>());
  }
}

/// max_of_quads for 16 windows; `first` is the place of the first one's upper left element.
template <class T>
GRADUS_INLINE void max_of_16_quads(const T* above, const T* below, int32_t first, int32_t width, T* y, int32_t* from) {
  static constexpr int32_t twice[] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  Simd<float> a, b, c, d;
  load_even_odd(above, a, b);
  load_even_odd(below, c, d);
  auto right = b > a || b != b, low_right = d > c || d != d;
  auto top = where(right, b, a), low = where(low_right, d, c);
  auto lower = low > top || low != low;
  auto places = Simd<int32_t>::load(twice) + Simd<int32_t>(first);
  for (int k = 0; k < Simd<float>::packets; ++k)  // a true lane of a mask is -1
    places.p[k] += lower.p[k] ? width - low_right.p[k] : -right.p[k];
  where(lower, low, top).store(y);
  places.store(from);
}

/// The same for fewer: what registers read and write beyond them stays in local memory.
template <class T>
void max_of_some_quads(const T* above, const T* below, int32_t first, int32_t width, int64_t count, T* y,
                       int32_t* from) {
  T rows[2][2 * simd_lanes] = {}, largest[simd_lanes];
  int32_t places[simd_lanes];
  std::copy_n(above, 2 * count, rows[0]);
  std::copy_n(below, 2 * count, rows[1]);
  max_of_16_quads(rows[0], rows[1], first, width, largest, places);
  std::copy_n(largest, count, y);
  std::copy_n(places, count, from);
}

/// The same for windows of 2 x 2 side by side, without branches.
template <class T>
void max_of_quads(const PoolShape& s, const T* x, T* y, int32_t* from) {
  using C = Compute<T>;
  auto width = static_cast<int32_t>(s.w);
  for (int64_t i = 0; i < s.oh; ++i) {
    auto* above = x + 2 * i * s.w;
    auto* below = above + s.w;
    auto first = static_cast<int32_t>(2 * i * s.w);
    auto at = i * s.ow;
    if constexpr (std::is_same_v<C, float>) {
      // Registers may read and write beyond the row, but not beyond the plane; what comes next overwrites it.
      auto end = std::min(s.oh * s.ow - at - simd_lanes, (s.h * s.w - (2 * i + 1) * s.w) / 2 - simd_lanes);
      for (int64_t j = 0; j < s.ow; j += simd_lanes) {
        auto place = first + static_cast<int32_t>(2 * j);
        if (j <= end) max_of_16_quads(above + 2 * j, below + 2 * j, place, width, y + at + j, from + at + j);
        else
          max_of_some_quads(above + 2 * j, below + 2 * j, place, width, std::min<int64_t>(simd_lanes, s.ow - j),
                            y + at + j, from + at + j);
      }
    } else {
      for (int64_t j = 0; j < s.ow; ++j) {
        auto larger = [](C a, C b) { return b > a || b != b; };
        C a = above[2 * j], b = above[2 * j + 1], c = below[2 * j], d = below[2 * j + 1];
        auto right = larger(a, b), low_right = larger(c, d);
        C top = right ? b : a, low = low_right ? d : c;
        auto lower = larger(top, low);
        y[at + j] = static_cast<T>(lower ? low : top);
        from[at + j] = first + static_cast<int32_t>(2 * j) + (lower ? width + low_right : static_cast<int32_t>(right));
      }
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Largest element of each window. x (n, c, h, w) -> (n, c, oh, ow). Padding never wins; the first of equal elements
/// gets the gradient; NaN counts as largest, and the last one gets it. The stride is the kernel's size unless given. As
/// torch.nn.functional.max_pool2d.
template <Floating T>
Tensor<T> max_pool2d(const Tensor<T>& x_in, Size2d kernel, const PoolOptions& options = {}) {
  auto s = detail::pool_shape("max_pool2d", x_in.shape(), kernel, options);
  auto x = contiguous(x_in);
  auto y = Tensor<T>::empty({s.n, s.c, s.oh, s.ow}, x.device(), "max_pool2d");
  auto from = Tensor<int32_t>::empty(y.shape(), x.device(), "max_pool2d");
  auto* values = reinterpret_cast<T*>(y.impl()->data());
  auto* places = reinterpret_cast<int32_t*>(from.impl()->data());
  auto quads = detail::are_quads(s);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::launch_window("max_pool2d", *y.impl(), "max_pool", y.numel(), detail::card_windows(s), values, places,
                          x.data());
  } else
#endif
    detail::for_planes(s.n * s.c, s.h * s.w, [&](int64_t p) {
      auto* plane = x.data() + p * s.h * s.w;
      auto pixels = p * s.oh * s.ow;
      if (quads) detail::max_of_quads<T>(s, plane, values + pixels, places + pixels);
      else detail::max_of_windows<T>(s, plane, values + pixels, places + pixels);
    });
  return differentiable("max_pool2d", y,
                        wrt(x, [from, s](const Tensor<T>& dy) { return detail::pool_put(dy, from, s); }));
}

}  // namespace gradus::inline GRADUS_BUILD
