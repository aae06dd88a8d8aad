#pragma once

#include "gradus/device/cpu/compiled.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/max_windows.hpp"
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
  auto x = in_order(x_in, s.channels_last);
  auto y = empty_images<T>(from.shape(), x.device(), s.channels_last);
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto pixels = from.size(2) * from.size(3), plane = x.size(2) * x.size(3);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    launch_window("pool_take", *y.impl(), "pool_take", y.numel(), card_windows(s), to, x.data(), from.data());
  } else
#endif
    for_planes(from.size(0) * from.size(1), pixels, [&](int64_t first, int64_t count) {
      for (auto p = first; p < first + count; ++p) {
        for (int64_t i = 0; i < pixels; ++i) to[p * pixels + i] = x.data()[p * plane + from.data()[p * pixels + i]];
      }
    });
  return differentiable("pool_take", y, wrt(x, [from, s](const Tensor<T>& dy) { return pool_put(dy, from, s); }));
}

/// Zeros of the image's shape, plus y[i] at from[i]: the transpose of pool_take.
template <Floating T>
Tensor<T> pool_put(const Tensor<T>& y_in, const Tensor<int32_t>& from, const PoolShape& s) {
  auto y = in_order(y_in, s.channels_last);
  Shape shape{s.n, s.c, s.h, s.w};
  auto x = empty_images<T>(shape, y.device(), s.channels_last);
  auto* to = reinterpret_cast<T*>(x.impl()->data());
  auto pixels = from.size(2) * from.size(3), plane = shape[2] * shape[3];
#if defined(GRADUS_CUDA)
  if (!y.device().is_cpu()) {
    launch_window("pool_put", *x.impl(), "pool_put", x.numel(), card_windows(s), to, y.data(), from.data());
  } else
#endif
    for_planes(shape[0] * shape[1], plane, [&](int64_t p, int64_t planes) {
      put_windows<T>(s, planes, y.data() + p * pixels, from.data() + p * pixels, to + p * plane);
    });
  return differentiable("pool_put", x, wrt(y, [from, s](const Tensor<T>& dx) { return pool_take(dx, from, s); }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Largest element of each window. x (n, c, h, w) -> (n, c, oh, ow). Padding never wins; the first of equal elements
/// gets the gradient; NaN counts as largest, and the last one gets it. The stride is the kernel's size unless given. As
/// torch.nn.functional.max_pool2d.
template <Floating T>
Tensor<T> max_pool2d(const Tensor<T>& x_in, Size2d kernel, const PoolOptions& options = {}) {
  auto s = detail::pool_shape("max_pool2d", x_in.shape(), kernel, options);
  auto x = detail::in_some_order(x_in);
  s.channels_last = detail::is_channels_last(*x.impl());
  Shape shape{s.n, s.c, s.oh, s.ow};
  auto y = detail::empty_images<T>(shape, x.device(), s.channels_last, "max_pool2d");
  auto from = detail::empty_images<int32_t>(shape, x.device(), s.channels_last, "max_pool2d");
  auto* values = reinterpret_cast<T*>(y.impl()->data());
  auto* places = reinterpret_cast<int32_t*>(from.impl()->data());
  auto quads = detail::are_quads(s);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::launch_window("max_pool2d", *y.impl(), "max_pool", y.numel(), detail::card_windows(s), values, places,
                          x.data());
  } else
#endif
    detail::for_planes(s.n * s.c, s.h * s.w, [&](int64_t p, int64_t planes) {
      auto* plane = x.data() + p * s.h * s.w;
      auto pixels = p * s.oh * s.ow;
      if (quads) detail::max_of_quads<T>(s, planes, plane, values + pixels, places + pixels);
      else detail::max_of_windows<T>(s, planes, plane, values + pixels, places + pixels);
    });
  return differentiable("max_pool2d", y,
                        wrt(x, [from, s](const Tensor<T>& dy) { return detail::pool_put(dy, from, s); }));
}

}  // namespace gradus::inline GRADUS_BUILD
