#pragma once

#include "gradus/ops/product/matmul.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/product/linear_fp8.hpp"
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
  auto dense_bias = bias.defined() ? contiguous(bias.detach()) : bias;
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::matmul_on_card("linear", *x.impl(), *transpose(weight.detach()).impl(), *y.impl(),
                           bias.defined() ? dense_bias.impl().get() : nullptr);
  } else
#endif
    detail::gemm<T>(detail::matrix_view(x), {weight.data(), in, out, weight.strides()[1], weight.strides()[0]},
                    reinterpret_cast<T*>(y.impl()->data()), out,
                    {.column_bias = bias.defined() ? dense_bias.data() : nullptr});
  return differentiable(
      "linear", y, wrt(x, [w = saved(weight)](const Tensor<T>& dy) { return matmul(dy, w()); }),  // (n, in)
      wrt(weight, [x = saved(x)](const Tensor<T>& dy) { return matmul(transpose(dy), x()); }),    // (out, in)
      wrt(bias, [](const Tensor<T>& dy) { return sum(dy, 0); }));                                 // (out,)
}

}  // namespace gradus::inline GRADUS_BUILD
