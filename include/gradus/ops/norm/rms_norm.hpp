#pragma once

#include "gradus/ops/norm/normal_rows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// rms_norm of x, or of x + added where that is defined.
template <Floating T>
NormalRows<T> rms_norm_rows(const char* op, const Tensor<T>& x_in, const Tensor<T>& added_in, const Tensor<T>& weight,
                            double eps) {
  using C = Compute<T>;
  require<ShapeError>(x_in.rank() >= 1, op, ": a scalar has no axis");
  auto width = x_in.size(-1), rows = width == 0 ? 0 : x_in.numel() / width;
  require<ShapeError>(!weight.defined() || weight.shape() == Shape{width}, op, ": input is ", x_in.shape(),
                      " and weight ", weight.defined() ? weight.shape() : Shape(),
                      ", but weight must have the size of the input's last axis");
  require_device(op, x_in.device(), added_in, weight);
  auto x = contiguous(x_in), added = dense_or_undefined(added_in), dense_weight = dense_or_undefined(weight);
  NormalRows<T> result{row_operand(op, x, added), Tensor<T>::empty(x.shape(), x.device(), op),
                       Tensor<C>::empty({rows}, x.device(), op)};
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    norm_on_card(op, x, added, dense_weight, Tensor<T>(), true, eps, width, result.x, result.normal, result.statistics);
    return result;
  }
#endif
  auto *from = x.data(), *beside = data_or_null(added), *weights = data_or_null(dense_weight);
  auto *to_sum = reinterpret_cast<T*>(result.x.impl()->data()),
       *to = reinterpret_cast<T*>(result.normal.impl()->data());
  auto* of_rows = reinterpret_cast<C*>(result.statistics.impl()->data());
  auto streamed = rows_are_streamed<T>(rows, width);
  auto normalize = [&](int64_t row) {
    auto at = row * width;
    of_rows[row] = rms_normalize_row<T>(from + at, beside != nullptr ? beside + at : nullptr, weights, width, eps,
                                        to_sum + at, to + at, streamed);
  };
  for_rows(rows, width, normalize, streamed);
  return result;
}

/// Gradients of x and weight in one pass over the rows: of dy, which came for the normal rows, and `past` (may be
/// undefined), which came for x by another way.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>> rms_norm_gradient([[maybe_unused]] const char* op, const Tensor<T>& dy_in,
                                                   const Tensor<T>& past_in, const Tensor<T>& x,
                                                   const Tensor<T>& weight_in, const Tensor<Compute<T>>& inverses,
                                                   bool weight_wanted) {
  using C = Compute<T>;
  auto dx = row_gradient_memory(past_in, x);
  auto dy = contiguous(dy_in), past = dense_or_undefined(past_in), weight = dense_or_undefined(weight_in);
  auto rows = inverses.size(0), width = x.size(-1);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu())
    return {dx, norm_gradient_on_card(op, dy, past, x, weight, inverses, true, width, weight_wanted, dx)[0]};
#endif
  auto *of_dy = dy.data(), *of_x = x.data(), *of_past = data_or_null(past), *weights = data_or_null(weight);
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  auto* of_rows = inverses.data();
  auto streamed = to != of_past && rows_are_streamed<T>(rows, width);  // in place, the lines are in the cache already
  auto gradient = [&](int64_t row, C* sums, C*) {
    auto at = row * width;
    rms_norm_row_gradient(of_dy + at, of_x + at, of_past != nullptr ? of_past + at : nullptr, weights, of_rows[row],
                          width, to + at, sums, streamed);
  };
  return {dx, sum_over_rows<T>(rows, width, weight_wanted, streamed, gradient)[0]};
}

/// The same without `past` in ordinary operators, which can be differentiated again.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>> rms_norm_gradient_by_operators(const Tensor<T>& dy, const Tensor<T>& x,
                                                                const Tensor<T>& weight, double eps) {
  auto inverse = 1.0 / sqrt(mean(x * x, -1, true) + eps);
  auto normal = x * inverse;
  auto g = weight.defined() ? dy * weight : dy;
  auto dx = inverse * (g - normal * mean(g * normal, -1, true));
  return {dx, weight.defined() ? sum_to(dy * normal, weight.shape()) : Tensor<T>()};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x / sqrt(mean of squares + eps) * weight over the last axis (Zhang and Sennrich, 2019). weight has its size, or is
/// undefined; the result has x's shape. As torch.nn.functional.rms_norm over one axis.
template <Floating T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& weight = {}, double eps = 1e-6) {
  auto rows = detail::rms_norm_rows("rms_norm", contiguous(x), {}, weight, eps);
  return differentiable("rms_norm", rows.normal, inputs(rows.x, weight),
                        [x = saved(rows.x), weight = saved(weight), inverses = rows.statistics, eps](
                            const Tensor<T>& dy, const std::array<bool, 2>& wanted) {
                          if (grad_enabled()) return detail::rms_norm_gradient_by_operators(dy, x(), weight(), eps);
                          return detail::rms_norm_gradient("rms_norm", dy, {}, x(), weight(), inverses, wanted[1]);
                        });
}

}  // namespace gradus::inline GRADUS_BUILD
