#pragma once

#include "gradus/ops/norm/norm_gradient.hpp"
#include "gradus/ops/norm/row_kernels.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/norm_rows_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// Rows that were normalised, and what their gradient reads.
template <Floating T>
struct NormalRows {
  Tensor<T> x;                    ///< dense: the operand, or its sum with what was added to it
  Tensor<T> normal;               ///< shape of x
  Tensor<Compute<T>> statistics;  ///< of layer norm (rows, 2), a RowMoments each; of rms norm (rows,): 1 / rms
};

/// The operand that rows are normalised of, dense: x itself, or memory for its sum with `added`, where that is defined.
/// Throws ShapeError when these differ in shape.
template <Floating T>
Tensor<T> row_operand(const char* op, const Tensor<T>& x, const Tensor<T>& added) {
  if (!added.defined()) return x;
  require<ShapeError>(x.shape() == added.shape(), op, ": x is ", x.shape(), " and what is added ", added.shape(),
                      ", but both must have the same shape");
  return Tensor<T>::empty(x.shape(), x.device(), op);
}

/// Memory for the gradient of rows of x: that of `past`, what came for x by another way, where it is nobody else's.
template <Floating T>
Tensor<T> row_gradient_memory(const Tensor<T>& past, const Tensor<T>& x) {
  auto fits = past.defined() && past.is_contiguous() && is_nobody_elses(past.impl());
  return fits ? past.detach() : Tensor<T>::empty(x.shape(), x.device());
}

/// Runs body(row, sums for the weight, sums for the bias) over all rows, and gives the parameters' gradients, (width,)
/// each; `wanted`: else the sums are null and the gradients undefined.
template <Floating T, class Body>
std::array<Tensor<T>, 2> sum_over_rows(int64_t rows, int64_t width, bool wanted, bool streamed, Body&& body) {
  auto parts = std::clamp<int64_t>(rows * width / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(rows, 1)));
  ParameterSums<Compute<T>> sums(parts, wanted ? width : 0);
  parallel_chunks(parts, [&](int64_t part) {
    sums.clear(part);
    for (auto row = rows * part / parts; row < rows * (part + 1) / parts; ++row)
      body(row, wanted ? sums.weight(part) : nullptr, wanted ? sums.bias(part) : nullptr);
    if (streamed) stream_fence();
  });
  if (!wanted) return {};
  auto dw = Tensor<T>::empty({width}), db = Tensor<T>::empty({width});
  sums.add_parts(sums.weight(0), reinterpret_cast<T*>(dw.impl()->data()), width);
  sums.add_parts(sums.bias(0), reinterpret_cast<T*>(db.impl()->data()), width);
  return {dw, db};
}

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

/// The sum of x and what was added to it, of which a gradient reads the numbers; for a gradient of the gradient it is
/// joined to both again.
template <Floating T>
class SavedSum {
 public:
  SavedSum(const Tensor<T>& sum, const Tensor<T>& x, const Tensor<T>& added)
      : sum_(sum.detach()), x_(wrt(x, pass)), added_(wrt(added, pass)) {}

  const Tensor<T>& operator()() const { return sum_(); }
  Tensor<T> joined() const { return differentiable("add", sum_().detach(), x_, added_); }

 private:
  static Tensor<T> pass_back(const Tensor<T>& dy) { return dy; }
  static constexpr auto pass = &pass_back;

  Saved<T> sum_;
  Wrt<Tensor<T> (*)(const Tensor<T>&)> x_, added_;
};

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

/// What add_layer_norm and add_rms_norm give.
template <Floating T>
struct SumAndNormal {
  Tensor<T> sum, normal;
};

/// sum = x + added, and its layer norm, in one pass: a residual and the norm that reads it. Their gradients come
/// together in one pass too, in the memory of the sum's where nobody else sees it. x and added have the same shape, and
/// so do the results; else see layer_norm.
template <Floating T>
SumAndNormal<T> add_layer_norm(const Tensor<T>& x, const Tensor<T>& added, const Shape& normalized_shape,
                               const Tensor<T>& weight = {}, const Tensor<T>& bias = {}, double eps = 1e-5) {
  auto rows = detail::layer_norm_rows("add_layer_norm", x, added, normalized_shape, weight, bias, eps);
  auto gradient = [sum = detail::SavedSum<T>(rows.x, x, added), weight = saved(weight), moments = rows.statistics,
                   normalized_shape, eps](const std::array<Tensor<T>, 2>& dys, const std::array<bool, 4>& wanted) {
    const auto& [of_sum, of_normal] = dys;
    Tensor<T> dx, dw, db;
    if (!of_normal.defined()) {
      dx = of_sum;
    } else if (grad_enabled()) {
      std::tie(dx, dw, db) =
          detail::layer_norm_gradient_by_operators(of_normal, sum.joined(), weight(), normalized_shape, eps);
      if (of_sum.defined()) dx = dx + of_sum;
    } else {
      std::tie(dx, dw, db) = detail::layer_norm_gradient("add_layer_norm", of_normal, of_sum, sum(), weight(),
                                                         normalized_shape, moments, wanted[2] || wanted[3]);
    }
    return std::tuple(dx, dx, dw, db);
  };
  auto [sum, normal] = differentiable("add_layer_norm", std::array{rows.x, rows.normal}, inputs(x, added, weight, bias),
                                      std::move(gradient));
  return {sum, normal};
}

}  // namespace gradus::inline GRADUS_BUILD
