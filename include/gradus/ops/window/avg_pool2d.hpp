#pragma once

#include "gradus/device/cpu/compiled.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/mean_windows.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/window/window_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct AvgPoolOptions {
  std::optional<Size2d> stride = {};  ///< the kernel's size unless given
  Size2d padding = 0;                 ///< at most half of the kernel
  bool ceil_mode = false;             ///< windows that hang over the end count too
  bool count_include_pad = true;      ///< padding counts as zeros in the mean
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
Tensor<T> avg_pool_gradient(const Tensor<T>& dy_in, const PoolShape& s, bool include_padding);

template <Floating T>
Tensor<T> avg_pool(const Tensor<T>& x_in, const PoolShape& s, bool include_padding) {
  auto x = in_order(x_in, s.channels_last);
  auto y = empty_images<T>({s.n, s.c, s.oh, s.ow}, x.device(), s.channels_last, "avg_pool2d");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    launch_window("avg_pool2d", *y.impl(), "avg_pool", y.numel(), card_windows(s), include_padding ? 1 : 0, to,
                  x.data());
  } else
#endif
    for_planes(s.n * s.c, s.h * s.w, [&](int64_t p, int64_t planes) {
      mean_of_windows<T>(s, planes, include_padding, x.data() + p * s.h * s.w, to + p * s.oh * s.ow);
    });
  return differentiable("avg_pool2d", y, wrt(x, [s, include_padding](const Tensor<T>& dy) {
                          return avg_pool_gradient(dy, s, include_padding);
                        }));
}

/// The transpose of avg_pool, which is linear.
template <Floating T>
Tensor<T> avg_pool_gradient(const Tensor<T>& dy_in, const PoolShape& s, bool include_padding) {
  auto dy = in_order(dy_in, s.channels_last);
  auto dx = empty_images<T>({s.n, s.c, s.h, s.w}, dy.device(), s.channels_last);
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
#if defined(GRADUS_CUDA)
  if (!dy.device().is_cpu()) {
    launch_window("avg_pool2d", *dx.impl(), "avg_pool_gradient", dx.numel(), card_windows(s), include_padding ? 1 : 0,
                  to, dy.data());
  } else
#endif
    for_planes(s.n * s.c, s.h * s.w, [&](int64_t p, int64_t planes) {
      share_windows<T>(s, planes, include_padding, dy.data() + p * s.oh * s.ow, to + p * s.h * s.w);
    });
  return differentiable("avg_pool2d_gradient", dx, wrt(dy, [s, include_padding](const Tensor<T>& ddx) {
                          return avg_pool(ddx, s, include_padding);
                        }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Mean of each window. x (n, c, h, w) -> (n, c, oh, ow). The stride is the kernel's size unless given. As
/// torch.nn.functional.avg_pool2d.
template <Floating T>
Tensor<T> avg_pool2d(const Tensor<T>& x, Size2d kernel, const AvgPoolOptions& options = {}) {
  auto s = detail::pool_shape("avg_pool2d", x.shape(), kernel, {options.stride, options.padding, 1, options.ceil_mode});
  s.channels_last = detail::is_channels_last(*x.impl());
  return detail::avg_pool(x, s, options.count_include_pad);
}

}  // namespace gradus::inline GRADUS_BUILD
