// Poolings whose window is the whole image.
#pragma once

#include "gradus/ops/reduction/mean.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline void check_global_pool(const char* op, const Shape& x) {
  require<ShapeError>(x.rank() == 4 && x[2] > 0 && x[3] > 0, op, ": input is ", x,
                      ", but must be (n, channels, height, width) with at least one pixel");
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Mean of each channel of each image: (n, c, h, w) -> (n, c). As torch.nn.functional.adaptive_avg_pool2d(x, 1).
template <Floating T>
Tensor<T> global_avg_pool2d(const Tensor<T>& x) {
  detail::check_global_pool("global_avg_pool2d", x.shape());
  return mean(x, {2, 3});
}

/// Largest element of each channel of each image: (n, c, h, w) -> (n, c). Of equal elements the first gets the
/// gradient, of several NaN the last, as in max_pool2d. As torch.nn.functional.adaptive_max_pool2d(x, 1).
template <Floating T>
Tensor<T> global_max_pool2d(const Tensor<T>& x) {
  detail::check_global_pool("global_max_pool2d", x.shape());
  return reshape(max_pool2d(x, {x.size(2), x.size(3)}), {x.size(0), x.size(1)});
}

}  // namespace gradus::inline GRADUS_BUILD
