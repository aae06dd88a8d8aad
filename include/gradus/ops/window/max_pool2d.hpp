#pragma once

#include <optional>

#include "gradus/device/cpu/compiled.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/pool_shape.hpp"
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
    for_planes(shape[0] * shape[1], plane, [&](int64_t p) {
      auto* target = to + p * plane;
      std::fill_n(target, plane, T(0));
      for (int64_t i = 0; i < pixels; ++i) {
        auto& sum = target[from.data()[p * pixels + i]];
        sum = static_cast<T>(static_cast<C>(sum) + static_cast<C>(y.data()[p * pixels + i]));
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

/// The same for windows of 2 x 2 side by side, without branches.
template <class T>
void max_of_quads(const PoolShape& s, const T* x, T* y, int32_t* from) {
  for (int64_t i = 0; i < s.oh; ++i) {
    auto* above = x + 2 * i * s.w;
    auto* below = above + s.w;
    auto first = static_cast<int32_t>(2 * i * s.w), width = static_cast<int32_t>(s.w);
    for (int64_t j = 0; j < s.ow; ++j) {
      auto larger = [](T a, T b) { return b > a || b != b; };
      T a = above[2 * j], b = above[2 * j + 1], c = below[2 * j], d = below[2 * j + 1];
      auto right = larger(a, b), low_right = larger(c, d);
      T top = right ? b : a, low = low_right ? d : c;
      auto lower = larger(top, low);
      y[j] = lower ? low : top;
      from[j] = first + static_cast<int32_t>(2 * j) + (lower ? width + low_right : static_cast<int32_t>(right));
    }
    y += s.ow;
    from += s.ow;
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
  auto quads = kernel == Size2d(2) && s.stride == Size2d(2).array() && s.padding == Size2d(0).array() &&
               s.dilation == Size2d(1).array() && 2 * s.oh <= s.h && 2 * s.ow <= s.w;
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::launch_window("max_pool2d", *y.impl(), "max_pool", y.numel(), detail::card_windows(s), values, places,
                          x.data());
  } else
#endif
    detail::for_planes(s.n * s.c, s.h * s.w, [&](int64_t p) {
      auto* plane = x.data() + p * s.h * s.w;
      auto pixels = s.oh * s.ow;
      if (quads) detail::max_of_quads<T>(s, plane, values + p * pixels, places + p * pixels);
      else detail::max_of_windows<T>(s, plane, values + p * pixels, places + p * pixels);
    });
  return differentiable("max_pool2d", y,
                        wrt(x, [from, s](const Tensor<T>& dy) { return detail::pool_put(dy, from, s); }));
}

}  // namespace gradus::inline GRADUS_BUILD
