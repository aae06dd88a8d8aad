#pragma once

#include "gradus/device/cpu/compiled.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/max_windows.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/window/max_pool_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

// What a window chose is known by its place in the plane on the CPU, by its number in the window on a GPU.

#if defined(GRADUS_CUDA)
template <Floating T, class I, class... Arguments>
void launch_max_pool(const char* op, const char* entry, const Tensor<T>& written, const Arguments&... arguments) {
  cuda::detail::launch_each(op, written.device(), cuda_max_pool(), {dtype_of<T>, dtype_of<I>}, entry, written.numel(),
                            arguments...);
}
#endif

template <Floating T, class I>
Tensor<T> pool_put(const Tensor<T>& y_in, const Tensor<I>& from, const PoolShape& s);

/// What the windows chose of x (n, c, h, w): (n, c, oh, ow), as `from`.
template <Floating T, class I>
Tensor<T> pool_take(const Tensor<T>& x_in, const Tensor<I>& from, const PoolShape& s) {
  auto x = in_order(x_in, s.channels_last);
  auto y = empty_images<T>(from.shape(), x.device(), s.channels_last);
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto pixels = from.size(2) * from.size(3), plane = x.size(2) * x.size(3);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    launch_max_pool<T, I>("pool_take", "pool_take", y, card_windows(s), to, x.data(), from.data());
  } else
#endif
    for_planes(from.size(0) * from.size(1), pixels, [&](int64_t first, int64_t count) {
      for (auto p = first; p < first + count; ++p) {
        for (int64_t i = 0; i < pixels; ++i) to[p * pixels + i] = x.data()[p * plane + from.data()[p * pixels + i]];
      }
    });
  return differentiable("pool_take", y, wrt(x, [from, s](const Tensor<T>& dy) { return pool_put(dy, from, s); }));
}

/// Zeros of the image's shape, plus each of y where it was chosen: the transpose of pool_take.
template <Floating T, class I>
Tensor<T> pool_put(const Tensor<T>& y_in, const Tensor<I>& from, const PoolShape& s) {
  auto y = in_order(y_in, s.channels_last);
  Shape shape{s.n, s.c, s.h, s.w};
  auto x = empty_images<T>(shape, y.device(), s.channels_last);
  auto* to = reinterpret_cast<T*>(x.impl()->data());
#if defined(GRADUS_CUDA)
  if (!y.device().is_cpu())
    launch_max_pool<T, I>("pool_put", "pool_put", x, card_windows(s), to, y.data(), from.data());
#endif
  if constexpr (std::is_same_v<I, int32_t>) {
    auto pixels = from.size(2) * from.size(3), plane = shape[2] * shape[3];
    if (y.device().is_cpu()) {
      for_planes(shape[0] * shape[1], plane, [&](int64_t p, int64_t planes) {
        put_windows<T>(s, planes, y.data() + p * pixels, from.data() + p * pixels, to + p * plane);
      });
    }
  }
  return differentiable("pool_put", x, wrt(y, [from, s](const Tensor<T>& dx) { return pool_take(dx, from, s); }));
}

#if defined(GRADUS_CUDA)
/// `from` has elements of I, which must hold the numbers of a window.
template <class I, Floating T>
Tensor<T> max_pool_on_card(const Tensor<T>& x, const PoolShape& s) {
  Shape shape{s.n, s.c, s.oh, s.ow};
  auto y = empty_images<T>(shape, x.device(), s.channels_last, "max_pool2d");
  auto from = empty_images<I>(shape, x.device(), s.channels_last, "max_pool2d");
  launch_max_pool<T, I>("max_pool2d", "max_pool", y, card_windows(s), y.impl()->data(), from.impl()->data(), x.data());
  return differentiable("max_pool2d", y, wrt(x, [from, s](const Tensor<T>& dy) { return pool_put(dy, from, s); }));
}
#endif

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
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu())
    return s.kh * s.kw < 256 ? detail::max_pool_on_card<uint8_t>(x, s) : detail::max_pool_on_card<int32_t>(x, s);
#endif
  Shape shape{s.n, s.c, s.oh, s.ow};
  auto y = detail::empty_images<T>(shape, x.device(), s.channels_last, "max_pool2d");
  auto from = detail::empty_images<int32_t>(shape, x.device(), s.channels_last, "max_pool2d");
  auto* values = reinterpret_cast<T*>(y.impl()->data());
  auto* places = reinterpret_cast<int32_t*>(from.impl()->data());
  auto quads = detail::are_quads(s);
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
