#pragma once

#include "gradus/ops/loss/softmax.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// x (..., n) dense -> log_softmax over the last axis.
template <Floating T>
Tensor<T> log_softmax_last(const Tensor<T>& x) {
  auto n = x.shape().back(), rows = x.numel() / std::max<int64_t>(n, 1);
  auto y = Tensor<T>::empty(x.shape(), x.device(), "log_softmax");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    softmax_on_card("log_softmax", x, y, n, true);
    rows = 0;
  }
#endif
  softmax_rows<T>(x.data(), rows, n, true, to);
  return differentiable("log_softmax", y, wrt(x, [x = saved(x), y = saved(y.detach())](const Tensor<T>& dy) {
                          if (!grad_enabled()) return softmax_gradient("log_softmax", y(), dy, true);
                          auto p = softmax_last(x());
                          return dy - p * sum(dy, -1, true);
                        }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x - log(sum(exp(x))) along an axis, without overflow. Any shape but a scalar; the result has the same.
template <Floating T>
Tensor<T> log_softmax(const Tensor<T>& x, int64_t axis = -1) {
  return detail::along_last_axis("log_softmax", x, axis,
                                 [](const Tensor<T>& rows) { return detail::log_softmax_last(rows); });
}

}  // namespace gradus::inline GRADUS_BUILD
