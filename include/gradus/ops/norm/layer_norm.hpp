#pragma once

#include "gradus/ops/norm/normal_rows.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// layer_norm of x, or of x + added where that is defined.
template <Floating T>
NormalRows<T> layer_norm_rows(const char* op, const Tensor<T>& x_in, const Tensor<T>& added_in,
                              const Shape& normalized_shape, const Tensor<T>& weight, const Tensor<T>& bias,
                              double eps) {
  using C = Compute<T>;
  auto outer = x_in.rank() - normalized_shape.rank();  // axes that count rows
  require<ShapeError>(!normalized_shape.empty() && outer >= 0 &&
                          std::equal(normalized_shape.begin(), normalized_shape.end(), x_in.shape().begin() + outer),
                      op, ": input is ", x_in.shape(), " and the normalized shape ", normalized_shape,
                      ": it must be the sizes of the input's last axes, one or more");
  for (const auto* part : {&weight, &bias}) {
    require<ShapeError>(!part->defined() || part->shape() == normalized_shape, op, ": ",
                        part == &weight ? "weight" : "bias", " is ", part->defined() ? part->shape() : Shape(),
                        ", but must have the normalized shape ", normalized_shape);
  }
  require_device(op, x_in.device(), added_in, weight, bias);
  auto x = contiguous(x_in), added = dense_or_undefined(added_in);
  auto dense_weight = dense_or_undefined(weight), dense_bias = dense_or_undefined(bias);
  auto width = normalized_shape.numel(), rows = width == 0 ? 0 : x.numel() / width;
  NormalRows<T> result{row_operand(op, x, added), Tensor<T>::empty(x.shape(), x.device(), op),
                       Tensor<C>::empty({rows, 2}, x.device(), op)};
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    norm_on_card(op, x, added, dense_weight, dense_bias, false, eps, width, result.x, result.normal, result.statistics);
    return result;
  }
#endif
  auto *from = x.data(), *beside = data_or_null(added), *weights = data_or_null(dense_weight),
       *biases = data_or_null(dense_bias);
  auto *to_sum = reinterpret_cast<T*>(result.x.impl()->data()),
       *to = reinterpret_cast<T*>(result.normal.impl()->data());
  auto* of_rows = reinterpret_cast<RowMoments<C>*>(result.statistics.impl()->data());
  auto streamed = rows_are_streamed<T>(rows, width);
  auto normalize = [&](int64_t row) {
    auto at = row * width;
    of_rows[row] = normalize_row(from + at, beside != nullptr ? beside + at : nullptr, weights, biases, width, eps,
                                 to_sum + at, to + at, streamed);
  };
  for_rows(rows, width, normalize, streamed);
  return result;
}

/// Gradients of x, weight and bias in one pass over the rows: of dy, which came for the normal rows, and `past` (may be
/// undefined), which came for x by another way.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> layer_norm_gradient([[maybe_unused]] const char* op, const Tensor<T>& dy_in,
                                                                const Tensor<T>& past_in, const Tensor<T>& x,
                                                                const Tensor<T>& weight_in, const Shape& normalized,
                                                                const Tensor<Compute<T>>& moments, bool sums_wanted) {
  using C = Compute<T>;
  auto dx = row_gradient_memory(past_in, x);
  auto dy = contiguous(dy_in), past = dense_or_undefined(past_in), weight = dense_or_undefined(weight_in);
  auto rows = moments.size(0), width = normalized.numel();
  auto in_shape = [&](const Tensor<T>& sums) { return sums.defined() ? reshape(sums, normalized) : sums; };
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto [dw, db] = norm_gradient_on_card(op, dy, past, x, weight, moments, false, width, sums_wanted, dx);
    return {dx, in_shape(dw), in_shape(db)};
  }
#endif
  auto *of_dy = dy.data(), *of_x = x.data(), *of_past = data_or_null(past), *weights = data_or_null(weight);
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  auto* of_rows = reinterpret_cast<const RowMoments<C>*>(moments.data());
  auto streamed = to != of_past && rows_are_streamed<T>(rows, width);  // in place, the lines are in the cache already
  auto [dw, db] = sum_over_rows<T>(rows, width, sums_wanted, streamed, [&](int64_t row, C* sum_w, C* sum_b) {
    auto at = row * width;
    layer_norm_row_gradient(of_dy + at, of_x + at, of_past != nullptr ? of_past + at : nullptr, weights, of_rows[row],
                            width, to + at, sum_w, sum_b, streamed);
  });
  return {dx, in_shape(dw), in_shape(db)};
}

/// The same without `past` in ordinary operators, which can be differentiated again.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> layer_norm_gradient_by_operators(const Tensor<T>& dy, const Tensor<T>& x,
                                                                             const Tensor<T>& weight,
                                                                             const Shape& normalized, double eps) {
  Axes over, repeated;
  for (int i = 0; i < x.rank(); ++i) (i < x.rank() - normalized.rank() ? repeated : over).push_back(i);
  return norm_gradient(dy, x, weight, over, repeated, eps);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Normalises over the last axes, whose sizes are `normalized_shape`: (x - mean) / sqrt(variance + eps) * weight + bias
/// (Ba et al., 2016), the variance as the mean of squares. weight and bias have the normalized shape, or are undefined.
/// The result has x's shape. As torch.nn.functional.layer_norm.
template <Floating T>
Tensor<T> layer_norm(const Tensor<T>& x, const Shape& normalized_shape, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, double eps = 1e-5) {
  auto rows = detail::layer_norm_rows("layer_norm", contiguous(x), {}, normalized_shape, weight, bias, eps);
  return differentiable("layer_norm", rows.normal, inputs(rows.x, weight, bias),
                        [x = saved(rows.x), weight = saved(weight), moments = rows.statistics, normalized_shape, eps](
                            const Tensor<T>& dy, const std::array<bool, 3>& wanted) {
                          if (grad_enabled())
                            return detail::layer_norm_gradient_by_operators(dy, x(), weight(), normalized_shape, eps);
                          return detail::layer_norm_gradient("layer_norm", dy, {}, x(), weight(), normalized_shape,
                                                             moments, wanted[1] || wanted[2]);
                        });
}

}  // namespace gradus::inline GRADUS_BUILD
