#pragma once

#include "gradus/ops/product/matmul.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/product/linear_fp8.hpp"
#endif

#if defined(GRADUS_CUDA)
namespace gradus::detail::inline GRADUS_BUILD {

/// d = tail(a b + bias), all of them matrices of a card; false when cuBLASLt has nothing for it. See CardProduct.
template <Floating T>
bool product_with_tail(const char* op, const Tensor<T>& a, const Tensor<T>& b, Tensor<T>& d,
                       cuda::detail::CardTail tail, const std::type_identity_t<Tensor<T>>& before,
                       const std::type_identity_t<Tensor<T>>& bias,
                       const std::type_identity_t<Tensor<T>>& bias_gradient = {}) {
  auto left = card_operand(a.detach().impl()), right = card_operand(b.detach().impl());
  auto matrix = [](const TensorImpl& x) {
    return cuda::detail::CardMatrix{x.data(), x.shape[0], x.shape[1], x.strides[0], x.strides[1]};
  };
  cuda::detail::CardProduct product;
  product.type = dtype_of<T>;
  product.a = matrix(*left);
  product.b = matrix(*right);
  product.d = d.impl()->data();
  product.d_stack_stride = d.numel();
  product.tail = tail;
  product.before_tail = memory_or_null(before);
  product.bias = memory_or_null(bias);
  product.bias_gradient = memory_or_null(bias_gradient);
  return cuda::detail::LtProducts::of(d.device()).run(product, op);
}

/// Gradients of a dense layer's weight (out, in) and bias (out,), each where it is wanted, of dy (n, out) and x (n,
/// in): by one product where cuda::fuse_tails() allows.
template <Floating T>
std::pair<Tensor<T>, Tensor<T>> dense_gradients(const char* op, const Tensor<T>& dy, const Tensor<T>& x,
                                                bool weight_wanted, bool bias_wanted) {
  auto at_once = weight_wanted && bias_wanted && cuda::detail::tails_fused() && !grad_enabled() &&
                 dtype_of<T> != DType::f64 && dy.numel() > 0 && x.numel() > 0;
  if (at_once) {
    auto dw = Tensor<T>::empty({dy.size(1), x.size(1)}, dy.device(), op),
         db = Tensor<T>::empty({dy.size(1)}, dy.device(), op);
    if (product_with_tail(op, transpose(dy), x, dw, cuda::detail::CardTail::left_sums, {}, {}, db)) return {dw, db};
  }
  return {weight_wanted ? matmul(transpose(dy), x) : Tensor<T>(), bias_wanted ? sum(dy, 0) : Tensor<T>()};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
#endif

namespace gradus::inline GRADUS_BUILD {

/// A dense layer: x (..., in) times weight (out, in) transposed, plus bias (out,) -> (..., out). The bias, which may be
/// an undefined tensor, is added as the product is written. As torch.nn.functional.linear. On a GPU, after
/// cuda::use_fp8(), products of bf16 are in fp8 where sizes fit.
template <Floating T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {}) {
  require<ShapeError>(weight.rank() == 2, "linear: weight is ", weight.shape(), ", but must be (out, in)");
  auto in = weight.size(1), out = weight.size(0);
  require<ShapeError>(x.rank() >= 1 && x.size(-1) == in, "linear: input is ", x.shape(), " but weight is ",
                      weight.shape(), ": the input's last size must be ", in);
  require<ShapeError>(!bias.defined() || bias.shape() == Shape{out}, "linear: bias is ",
                      bias.defined() ? bias.shape() : Shape(), " but weight is ", weight.shape(),
                      ": the bias must be (", out, ",)");
  detail::require_device("linear", x.device(), weight, bias);
  if (x.rank() != 2) {
    auto shape = x.shape(), rows = x.shape();
    shape[x.rank() - 1] = out;
    rows.erase(x.rank() - 1);
    return reshape(linear(reshape(x, {rows.numel(), in}), weight, bias), shape);
  }
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    if (auto y = detail::linear_in_fp8(x, weight, bias)) return *y;
  }
#endif
  auto y = Tensor<T>::empty({x.size(0), out}, x.device(), "linear");  // (n, out)
  auto dense_bias = detail::dense_or_undefined(bias);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::matmul_on_card("linear", *x.impl(), *transpose(weight.detach()).impl(), *y.impl(), dense_bias.impl().get());
    if (cuda::detail::tails_fused() && weight.requires_grad() && bias.defined() && bias.requires_grad()) {
      auto gradient = [w = saved(x.requires_grad() ? weight : Tensor<T>()), x = saved(x)](
                          const Tensor<T>& dy, const std::array<bool, 3>& wanted) {
        auto dx = wanted[0] ? matmul(dy, w()) : Tensor<T>();
        auto [dw, db] = detail::dense_gradients("linear", dy, x(), wanted[1], wanted[2]);
        return std::tuple(dx, dw, db);
      };
      return differentiable("linear", y, inputs(x, weight, bias), std::move(gradient));
    }
  } else
#endif
    detail::gemm<T>(detail::matrix_view(x), {weight.data(), in, out, weight.strides()[1], weight.strides()[0]},
                    reinterpret_cast<T*>(y.impl()->data()), out, {.column_bias = detail::data_or_null(dense_bias)});
  return differentiable(
      "linear", y, wrt(x, [w = saved(weight)](const Tensor<T>& dy) { return matmul(dy, w()); }),  // (n, in)
      wrt(weight, [x = saved(x)](const Tensor<T>& dy) { return matmul(transpose(dy), x()); }),    // (out, in)
      wrt(bias, [](const Tensor<T>& dy) { return sum(dy, 0); }));                                 // (out,)
}

}  // namespace gradus::inline GRADUS_BUILD
