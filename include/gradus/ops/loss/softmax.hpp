#pragma once

#include "gradus/ops/loss/softmax_rows.hpp"
#include "gradus/ops/pointwise.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/loss/softmax_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// The gradient by x of y = softmax(x) over the last axis, or of its logarithm, which is not differentiated again.
template <Floating T>
Tensor<T> softmax_gradient(const char* op, const Tensor<T>& y, const Tensor<T>& dy_in, bool logarithm) {
  auto dy = contiguous(dy_in);
  auto n = dy.size(-1);
#if defined(GRADUS_CUDA)
  if (!dy.device().is_cpu()) return softmax_gradient_on_card(op, y, dy, n, logarithm);
#endif
  auto dx = Tensor<T>::empty(dy.shape(), dy.device(), op);
  softmax_gradient_rows<T>(y.data(), dy.data(), dy.numel() / std::max<int64_t>(n, 1), n, logarithm,
                           reinterpret_cast<T*>(dx.impl()->data()));
  return dx;
}

/// x (..., n) dense -> softmax over the last axis.
template <Floating T>
Tensor<T> softmax_last(const Tensor<T>& x) {
  auto n = x.shape().back(), rows = x.numel() / std::max<int64_t>(n, 1);
  auto y = Tensor<T>::empty(x.shape(), x.device(), "softmax");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    softmax_on_card("softmax", x, y, n, false);
    rows = 0;
  }
#endif
  softmax_rows<T>(x.data(), rows, n, false, to);
  return differentiable("softmax", y, wrt(x, [x = saved(x), y = saved(y.detach())](const Tensor<T>& dy) {
                          if (!grad_enabled()) return softmax_gradient("softmax", y(), dy, false);
                          auto p = softmax_last(x());
                          return p * (dy - sum(dy * p, -1, true));
                        }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// exp(x) / sum(exp(x)) along an axis, without overflow. Any shape but a scalar; the result has the same.
template <Floating T>
Tensor<T> softmax(const Tensor<T>& x, int64_t axis = -1) {
  return detail::along_last_axis("softmax", x, axis, [](const Tensor<T>& rows) { return detail::softmax_last(rows); });
}

}  // namespace gradus::inline GRADUS_BUILD
