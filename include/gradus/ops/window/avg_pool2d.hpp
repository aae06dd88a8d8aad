#pragma once

#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/pool_shape.hpp"
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

/// Calls body(window, first row, last row, first column, last column, divisor) for the windows of a plane.
template <class Body>
void for_avg_windows(const PoolShape& s, bool include_padding, Body&& body) {
  for (int64_t i = 0; i < s.oh; ++i) {
    auto top = i * s.stride[0] - s.padding[0], bottom = std::min(top + s.kh, s.h + s.padding[0]);
    for (int64_t j = 0; j < s.ow; ++j) {
      auto left = j * s.stride[1] - s.padding[1], right = std::min(left + s.kw, s.w + s.padding[1]);
      auto padded = (bottom - top) * (right - left);
      auto r0 = std::max<int64_t>(top, 0), r1 = std::min(bottom, s.h), c0 = std::max<int64_t>(left, 0),
           c1 = std::min(right, s.w);
      body(i * s.ow + j, r0, r1, c0, c1, include_padding ? padded : (r1 - r0) * (c1 - c0));
    }
  }
}

template <Floating T>
Tensor<T> avg_pool_gradient(const Tensor<T>& dy_in, const PoolShape& s, bool include_padding);

template <Floating T>
Tensor<T> avg_pool(const Tensor<T>& x_in, const PoolShape& s, bool include_padding) {
  using C = Compute<T>;
  auto x = contiguous(x_in);
  auto y = Tensor<T>::empty({s.n, s.c, s.oh, s.ow}, x.device(), "avg_pool2d");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    launch_window("avg_pool2d", *y.impl(), "avg_pool", y.numel(), card_windows(s), include_padding ? 1 : 0, to,
                  x.data());
  } else
#endif
    for_planes(s.n * s.c, s.h * s.w, [&](int64_t p) {
      auto* plane = x.data() + p * s.h * s.w;
      for_avg_windows(s, include_padding,
                      [&](int64_t window, int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t divisor) {
                        C total = 0;
                        for (auto r = r0; r < r1; ++r) {
                          for (auto c = c0; c < c1; ++c) total += static_cast<C>(plane[r * s.w + c]);
                        }
                        to[p * s.oh * s.ow + window] = static_cast<T>(total / static_cast<C>(divisor));
                      });
    });
  return differentiable("avg_pool2d", y, wrt(x, [s, include_padding](const Tensor<T>& dy) {
                          return avg_pool_gradient(dy, s, include_padding);
                        }));
}

/// The transpose of avg_pool, which is linear.
template <Floating T>
Tensor<T> avg_pool_gradient(const Tensor<T>& dy_in, const PoolShape& s, bool include_padding) {
  using C = Compute<T>;
  auto dy = contiguous(dy_in);
  auto dx = Tensor<T>::empty({s.n, s.c, s.h, s.w}, dy.device());
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
#if defined(GRADUS_CUDA)
  if (!dy.device().is_cpu()) {
    launch_window("avg_pool2d", *dx.impl(), "avg_pool_gradient", dx.numel(), card_windows(s), include_padding ? 1 : 0,
                  to, dy.data());
  } else
#endif
    for_planes(s.n * s.c, s.h * s.w, [&](int64_t p) {
      auto* plane = to + p * s.h * s.w;
      std::fill_n(plane, s.h * s.w, T(0));
      for_avg_windows(s, include_padding,
                      [&](int64_t window, int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t divisor) {
                        auto share = static_cast<C>(dy.data()[p * s.oh * s.ow + window]) / static_cast<C>(divisor);
                        for (auto r = r0; r < r1; ++r) {
                          for (auto c = c0; c < c1; ++c)
                            plane[r * s.w + c] = static_cast<T>(static_cast<C>(plane[r * s.w + c]) + share);
                        }
                      });
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
  return detail::avg_pool(x, s, options.count_include_pad);
}

}  // namespace gradus::inline GRADUS_BUILD
