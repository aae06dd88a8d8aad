#pragma once

#include "gradus/ops/norm/layer_norm.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// 1 / sqrt(mean of squares + eps) of one row.
template <class T>
Compute<T> row_inverse_rms(const T* row, int64_t n, double eps) {
  using C = Compute<T>;
  auto add_square = [](const Simd<C>& sum, const Simd<C>& v, int64_t) GRADUS_INLINE_LAMBDA { return fma(v, v, sum); };
  auto sum = fold_lanes(fold_row(row, n, C(0), C(0), add_square, add_lanes), add_lanes);
  return C(1) / std::sqrt(sum / static_cast<C>(n) + static_cast<C>(eps));
}

/// y = x / rms * weight of one row; returns 1 / rms.
template <Floating T>
Compute<T> rms_normalize_row(const T* x, const T* weight, int64_t n, double eps, T* y, bool streamed) {
  using C = Compute<T>;
  auto result = row_inverse_rms(x, n, eps);
  Simd<C> inverse(result);
  for_each_register(x, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    fetch_beyond(x + i, n);
    store_row(v * inverse * parameter_lanes(weight, i, count, C(1)), y + i, count, streamed);
  });
  return result;
}

/// dx of one row; adds dy times the normalised row to the sums for the weight, unless these are null.
template <class T, class C = Compute<T>>
void rms_norm_row_gradient(const T* dy, const T* x, const T* weight, C inverse_rms, int64_t n, T* dx, C* dw,
                           bool streamed) {
  Simd<C> inverse(inverse_rms), scaled(C(0));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = load_some<C>(x + i, count) * inverse;
    if (dw != nullptr) fma(v, normal, Simd<C>::load(dw + i)).store(dw + i);
    scaled = fma(v * parameter_lanes(weight, i, count, C(1)), normal, scaled);
  });
  Simd<C> slope(fold_lanes(scaled, [](C a, C b) { return a + b; }) / static_cast<C>(n));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = load_some<C>(x + i, count) * inverse;
    fetch_beyond(dy + i, n);
    fetch_beyond(x + i, n);
    store_row((v * parameter_lanes(weight, i, count, C(1)) - normal * slope) * inverse, dx + i, count, streamed);
  });
}

/// Gradients of x and weight in one pass over the rows.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>> rms_norm_gradient(const Tensor<T>& dy_in, const Tensor<T>& x,
                                                   const Tensor<T>& weight_in, const Tensor<Compute<T>>& inverses,
                                                   bool weight_wanted) {
  using C = Compute<T>;
  auto dy = contiguous(dy_in);
  auto weight = dense_or_undefined(weight_in);
  auto rows = inverses.size(0), width = x.size(-1);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto [of_x, of_weight, none] =
        norm_gradient_on_card("rms_norm", dy, x, weight, inverses, true, width, weight_wanted);
    return {of_x, of_weight};
  }
#endif
  auto dx = Tensor<T>::empty(x.shape(), x.device()), dw = Tensor<T>::empty({width}, x.device());
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  auto* weights = data_or_null(weight);
  auto parts = std::clamp<int64_t>(rows * width / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(rows, 1)));
  auto streamed = rows_are_streamed<T>(rows, width);
  ParameterSums<C> sums(parts, weight_wanted ? width : 0);
  parallel_chunks(parts, [&](int64_t part) {
    sums.clear(part);
    for (auto row = rows * part / parts; row < rows * (part + 1) / parts; ++row) {
      rms_norm_row_gradient(dy.data() + row * width, x.data() + row * width, weights, inverses.data()[row], width,
                            to + row * width, weight_wanted ? sums.weight(part) : nullptr, streamed);
    }
    if (streamed) stream_fence();
  });
  if (!weight_wanted) return {dx, Tensor<T>()};
  sums.add_parts(sums.weight(0), reinterpret_cast<T*>(dw.impl()->data()), width);
  return {dx, dw};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x / sqrt(mean of squares + eps) * weight over the last axis (Zhang and Sennrich, 2019). weight has its size, or is
/// undefined; the result has x's shape. As torch.nn.functional.rms_norm over one axis.
template <Floating T>
Tensor<T> rms_norm(const Tensor<T>& x_in, const Tensor<T>& weight = {}, double eps = 1e-6) {
  using C = Compute<T>;
  require<ShapeError>(x_in.rank() >= 1, "rms_norm: a scalar has no axis");
  auto width = x_in.size(-1), rows = width == 0 ? 0 : x_in.numel() / width;
  require<ShapeError>(!weight.defined() || weight.shape() == Shape{width}, "rms_norm: input is ", x_in.shape(),
                      " and weight ", weight.defined() ? weight.shape() : Shape(),
                      ", but weight must have the size of the input's last axis");
  detail::require_device("rms_norm", x_in.device(), weight);
  auto x = contiguous(x_in);
  auto dense_weight = detail::dense_or_undefined(weight);
  auto inverses = Tensor<C>::empty({rows}, x.device(), "rms_norm");
  auto y = Tensor<T>::empty(x.shape(), x.device(), "rms_norm");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto* of_rows = reinterpret_cast<C*>(inverses.impl()->data());
  auto* weights = detail::data_or_null(dense_weight);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::norm_on_card("rms_norm", x, dense_weight, Tensor<T>(), true, eps, width, y, inverses);
    rows = 0;
  }
#endif
  auto streamed = detail::rows_are_streamed<T>(rows, width);
  auto normalize = [&](int64_t row) {
    of_rows[row] =
        detail::rms_normalize_row<T>(x.data() + row * width, weights, width, eps, to + row * width, streamed);
  };
  detail::for_rows(rows, width, normalize, streamed);
  return differentiable(
      "rms_norm", y, inputs(x, weight),
      [x = saved(x), weight = saved(weight), inverses, eps](const Tensor<T>& dy, const std::array<bool, 2>& wanted) {
        if (!grad_enabled()) return detail::rms_norm_gradient(dy, x(), weight(), inverses, wanted[1]);
        auto inverse = 1.0 / sqrt(mean(x() * x(), -1, true) + eps);
        auto normal = x() * inverse;
        auto g = weight().defined() ? dy * weight() : dy;
        auto dx = inverse * (g - normal * mean(g * normal, -1, true));
        auto dw = weight().defined() ? sum_to(dy * normal, weight().shape()) : Tensor<T>();
        return std::tuple(dx, dw);
      });
}

}  // namespace gradus::inline GRADUS_BUILD
