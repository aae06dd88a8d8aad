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
    softmax_on_card("log_softmax", *x.impl(), *y.impl(), n, true);
    rows = 0;
  }
#endif
  softmax_rows<T>(x.data(), rows, n, true, to);
  return differentiable("log_softmax", y, wrt(x, [x = saved(x), y = saved(y.detach())](const Tensor<T>& dy) {
#if defined(GRADUS_CUDA)
                          if (!grad_enabled() && !dy.device().is_cpu()) {
                            return Tensor<T>(softmax_gradient_on_card("log_softmax", *y().impl(),
                                                                      *contiguous(dy).impl(), dy.size(-1), true));
                          }
#endif
                          if (!grad_enabled() && y().device().is_cpu()) {
                            auto given = contiguous(dy);
                            auto dx = Tensor<T>::empty(given.shape(), given.device(), "log_softmax");
                            auto width = given.size(-1), count = given.numel() / std::max<int64_t>(width, 1);
                            softmax_gradient_rows<T>(y().data(), given.data(), count, width, true,
                                                     reinterpret_cast<T*>(dx.impl()->data()));
                            return dx;
                          }
                          auto p = grad_enabled() ? softmax_last(x()) : exp(y());
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
