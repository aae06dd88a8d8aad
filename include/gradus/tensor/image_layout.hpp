// How images (n, c, h, w) lie in memory: in planes, row-major, as everywhere on the CPU; or on a GPU channels last, the
// channels of a pixel side by side, as its tensor cores read them. The order is in the strides alone.
#pragma once

#include "gradus/tensor/storage.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Strides of (n, c, h, w) with the channels last.
inline Strides channels_last_strides(const Shape& s) { return {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]}; }

/// Sizes or strides of the axes (n, c, h, w) in the order of channels-last memory: (n, h, w, c).
inline Shape channels_behind(const Shape& s) { return {s[0], s[2], s[3], s[1]}; }

/// Whether row-major and channels last are two things for images (n, c, h, w): not with one channel, or one pixel.
inline bool orders_differ(const Shape& s) { return s[1] > 1 && s[2] * s[3] > 1; }

/// Whether x lies channels last, without gaps. False for what is row-major as well.
inline bool is_channels_last([[maybe_unused]] const TensorImpl& x) {
#if defined(GRADUS_CUDA)
  if (x.shape.rank() != 4 || x.storage->device().is_cpu() || x.is_contiguous()) return false;
  auto strides = channels_last_strides(x.shape);
  for (int i = 0; i < 4; ++i) {
    if (x.shape[i] != 1 && x.strides[i] != strides[i]) return false;
  }
  return true;
#else
  return false;
#endif
}

/// A dense tensor; `channels_last` (then it is of four axes) says in which order.
inline TensorRef allocate_images(DType dtype, const Shape& shape, Device device, bool channels_last,
                                 const char* op = "copy") {
  auto images = allocate_impl(dtype, shape, device, op);
  if (channels_last && orders_differ(shape)) images->strides = channels_last_strides(shape);
  return images;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
