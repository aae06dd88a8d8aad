#pragma once

#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/product/linear.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr auto gelu_tanh_slope_formula = pointwise("gelu_tanh_slope", [](auto x, auto dy) {
  auto t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
  auto du = 0.7978845608028654 * (1.0 + 0.134145 * x * x);
  return dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du);
});

#if defined(GRADUS_CUDA)
/// Nothing when it is to be done in single operators.
template <Floating T>
std::optional<Tensor<T>> gelu_mlp_on_card(const Tensor<T>& x, const std::array<Tensor<T>, 4>& parameters) {
  using cuda::detail::CardTail;
  const auto& [w1, b1, w2, b2] = parameters;
  auto n = x.size(0), wide = w1.size(0);
  if (n == 0 || x.size(1) == 0 || wide == 0 || wide % 8 != 0) return std::nullopt;  // cuBLASLt keeps eights of a row
  auto device = x.device();
  auto bias = dense_or_undefined(b1);
  bool keep = grad_enabled() && ((x.requires_grad() || w1.requires_grad() || w2.requires_grad()) ||
                                 (b1.defined() && b1.requires_grad()) || (b2.defined() && b2.requires_grad()));
  Tensor<T> before;
  if (keep) before = Tensor<T>::empty({n, wide}, device, "gelu_mlp");
  auto between = Tensor<T>::empty({n, wide}, device, "gelu_mlp");
  if (!product_with_tail("gelu_mlp", x, transpose(w1.detach()), between, CardTail::gelu, before, bias))
    return std::nullopt;
  auto y = Tensor<T>::empty({n, w2.size(0)}, device, "gelu_mlp");
  auto last = dense_or_undefined(b2);
  matmul_on_card("gelu_mlp", *between.impl(), *transpose(w2.detach()).impl(), *y.impl(),
                 last.defined() ? last.impl().get() : nullptr);
  auto gradient = [input = saved(x), first = saved(w1), second = saved(w2), offset = saved(b1), before, between](
                      const Tensor<T>& dy, const std::array<bool, 5>& wanted) {
    std::tuple<Tensor<T>, Tensor<T>, Tensor<T>, Tensor<T>, Tensor<T>> to;
    auto wide_sums = before, wide_values = between;
    if (grad_enabled()) {  // to be differentiated again
      wide_sums = linear(input(), first(), offset());
      wide_values = gelu_tanh(wide_sums);
    }
    std::tie(std::get<3>(to), std::get<4>(to)) = dense_gradients("gelu_mlp", dy, wide_values, wanted[3], wanted[4]);
    if (!wanted[0] && !wanted[1] && !wanted[2]) return to;
    auto slope = Tensor<T>::empty({dy.size(0), wide_sums.size(1)}, dy.device(), "gelu_mlp");  // (n, wide)
    Tensor<T> bias_sums;
    if (wanted[2]) bias_sums = Tensor<T>::empty({wide_sums.size(1)}, dy.device(), "gelu_mlp");
    auto fused = !grad_enabled() &&
                 product_with_tail("gelu_mlp", dy, second(), slope, CardTail::gelu_slope, wide_sums, {}, bias_sums);
    if (!fused) {
      slope = gelu_tanh_slope_formula(wide_sums, matmul(dy, second()));
      if (wanted[2]) bias_sums = sum(slope, 0);
    }
    if (wanted[0]) std::get<0>(to) = matmul(slope, first());             // (n, in)
    if (wanted[1]) std::get<1>(to) = matmul(transpose(slope), input());  // (wide, in)
    std::get<2>(to) = bias_sums;
    return to;
  };
  return differentiable("gelu_mlp", y, inputs(x, w1, b1, w2, b2), std::move(gradient));
}
#endif

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The two dense layers of a transformer's block: linear(gelu_tanh(linear(x, w1, b1)), w2, b2), x (..., in), w1 (wide,
/// in), b1 (wide,), w2 (out, wide), b2 (out,) -> (..., out); biases may be undefined. On a GPU, after
/// cuda::fuse_tails(), bias, GELU and their gradients ride on the tails of the products.
template <Floating T>
Tensor<T> gelu_mlp(const Tensor<T>& x, const Tensor<T>& w1, const Tensor<T>& b1, const Tensor<T>& w2,
                   const Tensor<T>& b2) {
#if defined(GRADUS_CUDA)
  if constexpr (dtype_of<T> != DType::f64) {
    auto fits = x.rank() >= 1 && w1.rank() == 2 && w2.rank() == 2 && x.size(-1) == w1.size(1) &&
                w2.size(1) == w1.size(0) && (!b1.defined() || b1.shape() == Shape{w1.size(0)}) &&
                (!b2.defined() || b2.shape() == Shape{w2.size(0)});           // if not, linear says why
    auto by_linear = dtype_of<T> == DType::bf16 && cuda::detail::fp8_used();  // which has no such tails
    if (!x.device().is_cpu() && cuda::detail::tails_fused() && !by_linear && fits) {
      detail::require_device("gelu_mlp", x.device(), w1, b1, w2, b2);
      auto shape = x.shape(), rows = x.shape();
      shape[x.rank() - 1] = w2.size(0);
      rows.erase(x.rank() - 1);
      auto y = detail::gelu_mlp_on_card(reshape(x, {rows.numel(), w1.size(1)}), {w1, b1, w2, b2});
      if (y) return reshape(*y, shape);
    }
  }
#endif
  return linear(gelu_tanh(linear(x, w1, b1)), w2, b2);
}

}  // namespace gradus::inline GRADUS_BUILD
