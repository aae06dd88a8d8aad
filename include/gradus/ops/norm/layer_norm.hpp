#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/ops/norm/norm_gradient.hpp"
#include "gradus/ops/reduction/moments.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/norm_rows_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

template <class C>
struct RowMoments {
  C mean, inverse;  ///< inverse: 1 / sqrt(variance + eps)
};

/// Elements i, i + 1, ... of a parameter, or `missing` where there is none.
template <class C, class T>
GRADUS_INLINE Simd<C> parameter_lanes(const T* parameter, int64_t i, int64_t count, C missing) {
  return parameter != nullptr ? load_some<C>(parameter + i, count) : Simd<C>(missing);
}

/// y = (x - mean) / sqrt(variance + eps) * weight + bias of one row; returns its moments.
template <class T>
RowMoments<Compute<T>> normalize_row(const T* x, const T* weight, const T* bias, int64_t n, double eps, T* y,
                                     bool streamed) {
  using C = Compute<T>;
  auto [row_mean, spread, count_of_row] = run_moments(x, n);
  RowMoments<C> moments{row_mean, C(1) / std::sqrt(spread / count_of_row + static_cast<C>(eps))};
  Simd<C> mean(moments.mean), inverse(moments.inverse);
  for_each_register(x, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (v - mean) * inverse;
    fetch_beyond(x + i, n);
    store_row(fma(normal, parameter_lanes(weight, i, count, C(1)), parameter_lanes(bias, i, count, C(0))), y + i, count,
              streamed);
  });
  return moments;
}

/// Sums for the gradients of weight and bias, (parts, 2, width) with the width rounded up to whole registers.
template <class C>
class ParameterSums {
 public:
  ParameterSums(int64_t parts, int64_t width)
      : parts_(parts), stride_((width + simd_lanes - 1) / simd_lanes * simd_lanes), sums_(2 * parts * stride_) {}

  C* weight(int64_t part) const { return sums_.data() + 2 * part * stride_; }
  C* bias(int64_t part) const { return weight(part) + stride_; }
  void clear(int64_t part) const { std::fill_n(weight(part), 2 * stride_, C(0)); }

  /// to[i] = the sum over parts, added in their order, of what stands behind `first`.
  template <class T>
  void add_parts(const C* first, T* to, int64_t width) const {
    for (int64_t i = 0; i < width; i += simd_lanes) {
      auto sum = Simd<C>::load(first + i);
      for (int64_t part = 1; part < parts_; ++part) sum = sum + Simd<C>::load(first + 2 * part * stride_ + i);
      store_some(sum, to + i, std::min<int64_t>(simd_lanes, width - i));
    }
  }

 private:
  int64_t parts_, stride_;
  Scratch<C> sums_;
};

/// dx of one row; adds dy normal and dy to the sums for weight and bias, unless these are null.
template <class T, class C = Compute<T>>
void layer_norm_row_gradient(const T* dy, const T* x, const T* weight, RowMoments<C> moments, int64_t n, T* dx, C* dw,
                             C* db, bool streamed) {
  Simd<C> mean(moments.mean), inverse(moments.inverse), plain(C(0)), scaled(C(0));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (load_some<C>(x + i, count) - mean) * inverse;
    if (dw != nullptr) {
      fma(v, normal, Simd<C>::load(dw + i)).store(dw + i);
      (v + Simd<C>::load(db + i)).store(db + i);
    }
    auto g = v * parameter_lanes(weight, i, count, C(1));
    plain = plain + g;
    scaled = fma(g, normal, scaled);
  });
  Simd<C> mean_g(fold_lanes(plain, add_lanes) / static_cast<C>(n)),
      slope(fold_lanes(scaled, add_lanes) / static_cast<C>(n));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (load_some<C>(x + i, count) - mean) * inverse;
    auto g = v * parameter_lanes(weight, i, count, C(1));
    fetch_beyond(dy + i, n);
    fetch_beyond(x + i, n);
    store_row((g - mean_g - normal * slope) * inverse, dx + i, count, streamed);
  });
}

/// Gradients of x, weight and bias in one pass over the rows.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> layer_norm_gradient(const Tensor<T>& dy_in, const Tensor<T>& x,
                                                                const Tensor<T>& weight_in, const Shape& normalized,
                                                                const Tensor<Compute<T>>& moments,
                                                                const std::array<bool, 3>& wanted) {
  using C = Compute<T>;
  auto dy = contiguous(dy_in);
  auto weight = dense_or_undefined(weight_in);
  auto rows = moments.size(0), width = normalized.numel();
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto [of_x, of_weight, of_bias] =
        norm_gradient_on_card("layer_norm", dy, x, weight, moments, false, width, wanted[1] || wanted[2]);
    if (!of_weight.defined()) return {of_x, of_weight, of_bias};
    return {of_x, reshape(of_weight, normalized), reshape(of_bias, normalized)};
  }
#endif
  auto dx = Tensor<T>::empty(x.shape(), x.device()), dw = Tensor<T>::empty(normalized, x.device()),
       db = Tensor<T>::empty(normalized, x.device());
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  auto* weights = data_or_null(weight);
  auto* of_rows = reinterpret_cast<const RowMoments<C>*>(moments.data());
  auto streamed = rows_are_streamed<T>(rows, width);
  auto sums_wanted = wanted[1] || wanted[2];
  auto parts = std::clamp<int64_t>(rows * width / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(rows, 1)));
  ParameterSums<C> sums(parts, sums_wanted ? width : 0);
  parallel_chunks(parts, [&](int64_t part) {
    sums.clear(part);
    for (auto row = rows * part / parts; row < rows * (part + 1) / parts; ++row) {
      layer_norm_row_gradient(dy.data() + row * width, x.data() + row * width, weights, of_rows[row], width,
                              to + row * width, sums_wanted ? sums.weight(part) : nullptr, sums.bias(part), streamed);
    }
    if (streamed) stream_fence();
  });
  if (!sums_wanted) return {dx, Tensor<T>(), Tensor<T>()};
  sums.add_parts(sums.weight(0), reinterpret_cast<T*>(dw.impl()->data()), width);
  sums.add_parts(sums.bias(0), reinterpret_cast<T*>(db.impl()->data()), width);
  return {dx, dw, db};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Normalises over the last axes, whose sizes are `normalized_shape`: (x - mean) / sqrt(variance + eps) * weight + bias
/// (Ba et al., 2016), the variance as the mean of squares. weight and bias have the normalized shape, or are undefined.
/// The result has x's shape. As torch.nn.functional.layer_norm.
template <Floating T>
Tensor<T> layer_norm(const Tensor<T>& x_in, const Shape& normalized_shape, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, double eps = 1e-5) {
  using C = Compute<T>;
  auto outer = x_in.rank() - normalized_shape.rank();  // axes that count rows
  require<ShapeError>(!normalized_shape.empty() && outer >= 0 &&
                          std::equal(normalized_shape.begin(), normalized_shape.end(), x_in.shape().begin() + outer),
                      "layer_norm: input is ", x_in.shape(), " and the normalized shape ", normalized_shape,
                      ": it must be the sizes of the input's last axes, one or more");
  for (const auto* part : {&weight, &bias}) {
    require<ShapeError>(
        !part->defined() || part->shape() == normalized_shape, "layer_norm: ", part == &weight ? "weight" : "bias",
        " is ", part->defined() ? part->shape() : Shape(), ", but must have the normalized shape ", normalized_shape);
  }
  detail::require_device("layer_norm", x_in.device(), weight, bias);
  auto x = contiguous(x_in);
  auto dense_weight = detail::dense_or_undefined(weight);
  auto dense_bias = detail::dense_or_undefined(bias);
  auto width = normalized_shape.numel(), rows = width == 0 ? 0 : x.numel() / width;
  auto moments = Tensor<C>::empty({rows, 2}, x.device(), "layer_norm");  // a RowMoments each
  auto y = Tensor<T>::empty(x.shape(), x.device(), "layer_norm");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto* of_rows = reinterpret_cast<detail::RowMoments<C>*>(moments.impl()->data());
  auto* weights = detail::data_or_null(dense_weight);
  auto* biases = detail::data_or_null(dense_bias);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::norm_on_card("layer_norm", x, dense_weight, dense_bias, false, eps, width, y, moments);
    rows = 0;
  }
#endif
  auto streamed = detail::rows_are_streamed<T>(rows, width);
  auto normalize = [&](int64_t row) {
    of_rows[row] =
        detail::normalize_row(x.data() + row * width, weights, biases, width, eps, to + row * width, streamed);
  };
  detail::for_rows(rows, width, normalize, streamed);
  return differentiable("layer_norm", y, inputs(x, weight, bias),
                        [x = saved(x), weight = saved(weight), normalized_shape, moments, eps](
                            const Tensor<T>& dy, const std::array<bool, 3>& wanted) {
                          if (!grad_enabled())
                            return detail::layer_norm_gradient(dy, x(), weight(), normalized_shape, moments, wanted);
                          Axes over, repeated;
                          for (int i = 0; i < x().rank(); ++i)
                            (i < x().rank() - normalized_shape.rank() ? repeated : over).push_back(i);
                          return detail::norm_gradient(dy, x(), weight(), over, repeated, eps);
                        });
}

}  // namespace gradus::inline GRADUS_BUILD
