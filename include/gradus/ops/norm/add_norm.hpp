// A residual's sum and the norm that reads it, in one pass.
#pragma once

#include "gradus/ops/norm/layer_norm.hpp"
#include "gradus/ops/norm/rms_norm.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

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

/// Gradients of x, what was added, and parameters, from those that came for the sum and for its norm, either of which
/// may be undefined: by rows(of the norm, of the sum), or where they are recorded by operators(of the norm); both give
/// a tuple of the sum's and the parameters'.
template <Floating T, class Rows, class Operators>
auto add_norm_gradient(const std::array<Tensor<T>, 2>& dys, Rows&& rows, Operators&& operators) {
  const auto& [of_sum, of_normal] = dys;
  decltype(rows(of_normal, of_sum)) gradients;
  auto& dx = std::get<0>(gradients);
  if (!of_normal.defined()) {
    dx = of_sum;
  } else if (grad_enabled()) {
    gradients = operators(of_normal);
    if (of_sum.defined()) dx = dx + of_sum;
  } else {
    gradients = rows(of_normal, of_sum);
  }
  return std::tuple_cat(std::tuple(dx), gradients);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

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
    auto by_rows = [&](const Tensor<T>& dy, const Tensor<T>& past) {
      return detail::layer_norm_gradient("add_layer_norm", dy, past, sum(), weight(), normalized_shape, moments,
                                         wanted[2] || wanted[3]);
    };
    auto by_operators = [&](const Tensor<T>& dy) {
      return detail::layer_norm_gradient_by_operators(dy, sum.joined(), weight(), normalized_shape, eps);
    };
    return detail::add_norm_gradient(dys, by_rows, by_operators);
  };
  auto [sum, normal] = differentiable("add_layer_norm", std::array{rows.x, rows.normal}, inputs(x, added, weight, bias),
                                      std::move(gradient));
  return {sum, normal};
}

/// sum = x + added, and its rms norm, in one pass, as add_layer_norm.
template <Floating T>
SumAndNormal<T> add_rms_norm(const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight = {},
                             double eps = 1e-6) {
  auto rows = detail::rms_norm_rows("add_rms_norm", x, added, weight, eps);
  auto gradient = [sum = detail::SavedSum<T>(rows.x, x, added), weight = saved(weight), inverses = rows.statistics,
                   eps](const std::array<Tensor<T>, 2>& dys, const std::array<bool, 3>& wanted) {
    auto by_rows = [&](const Tensor<T>& dy, const Tensor<T>& past) {
      return detail::rms_norm_gradient("add_rms_norm", dy, past, sum(), weight(), inverses, wanted[2]);
    };
    auto by_operators = [&](const Tensor<T>& dy) {
      return detail::rms_norm_gradient_by_operators(dy, sum.joined(), weight(), eps);
    };
    return detail::add_norm_gradient(dys, by_rows, by_operators);
  };
  auto [sum, normal] =
      differentiable("add_rms_norm", std::array{rows.x, rows.normal}, inputs(x, added, weight), std::move(gradient));
  return {sum, normal};
}

}  // namespace gradus::inline GRADUS_BUILD
