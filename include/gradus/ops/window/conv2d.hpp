#pragma once

#include "gradus/device/cpu/compiled.hpp"
#include "gradus/device/cpu/conv.hpp"
#include "gradus/ops/pointwise/rectify.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/window/window_options.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/window/conv_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct ConvOptions {
  Size2d stride = 1;
  Size2d padding = 0;   ///< zeros around the image
  Size2d dilation = 1;  ///< distance of the kernel's elements
  int64_t groups = 1;
  Rectifier activation = Rectifier::none;  ///< applied to the result as it is written
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

inline ConvShape conv_shape(const Shape& x, const Shape& w, const ConvOptions& options) {
  require<ShapeError>(x.rank() == 4 && w.rank() == 4, "conv2d: input is ", x, " and weight is ", w,
                      ", but must be (n, channels, height, width) and (out, channels / groups, rows, columns)");
  auto positive = [](const Size2d& p) { return p.rows >= 1 && p.columns >= 1; };
  require<ValueError>(positive(options.stride) && positive(options.dilation) && options.padding.rows >= 0 &&
                          options.padding.columns >= 0 && options.groups >= 1,
                      "conv2d: stride is ", options.stride, ", dilation ", options.dilation, ", padding ",
                      options.padding, " and groups ", options.groups,
                      ", but padding must not be negative and the others at least 1");
  require<ShapeError>(x[1] == w[1] * options.groups && w[0] % options.groups == 0, "conv2d: input is ", x,
                      " and weight is ", w, " with ", options.groups, " group(s): the input's channels must be ",
                      w[1] * options.groups, ", and the weight's first size a multiple of ", options.groups);
  ConvShape s{x[0],
              x[1],
              x[2],
              x[3],
              w[0],
              w[2],
              w[3],
              options.stride.array(),
              options.padding.array(),
              options.dilation.array(),
              options.groups};
  auto fits = w[2] >= 1 && w[3] >= 1 && s.dilation[0] * (s.kh - 1) < s.h + 2 * s.padding[0] &&
              s.dilation[1] * (s.kw - 1) < s.w + 2 * s.padding[1];
  require<ShapeError>(fits, "conv2d: a kernel of ", Size2d(s.kh, s.kw), " with dilation ", options.dilation,
                      " does not fit into an image of ", Size2d(s.h, s.w), " with padding ", options.padding);
  return s;
}

/// Whether the images of a convolution lie channels last while it works.
template <Floating T>
bool conv_is_channels_last([[maybe_unused]] Device device, [[maybe_unused]] const ConvShape& s) {
#if defined(GRADUS_CUDA)
  return conv_wants_channels_last<T>(device, s);
#else
  return false;
#endif
}

// The three products of a convolution are linear in both operands, and each one's gradients are the other two: so any
// order of derivative exists.

template <Floating T>
Tensor<T> conv_forward(const Tensor<T>& x_in, const Tensor<T>& w_in, const Tensor<T>& bias, const ConvShape& s,
                       Rectifier rectifier = Rectifier::none);
template <Floating T>
Tensor<T> conv_input_gradient(const Tensor<T>& dy_in, const Tensor<T>& w_in, const ConvShape& s);
template <Floating T>
Tensor<T> conv_weight_gradient(const Tensor<T>& x_in, const Tensor<T>& dy_in, const ConvShape& s);

/// The convolution of no channels, a sum of nothing: the bias everywhere, rectified.
template <Floating T>
Tensor<T> conv_of_nothing(const Tensor<T>& bias, const ConvShape& s, Rectifier rectifier, Device device) {
  NoGradGuard guard;
  Shape shape{s.n, s.c_out, s.oh(), s.ow()};
  auto y = zeros<T>(shape, device);
  if (!bias.defined()) return y;
  auto strides = Strides::filled(4, 0);
  strides[1] = bias.strides()[0];
  copy_elements(*y.impl(), *raw_view(bias.detach(), shape, strides).impl());
  return rectify(y, rectifier);
}

template <Floating T>
Tensor<T> conv_forward(const Tensor<T>& x_in, const Tensor<T>& w_in, const Tensor<T>& bias, const ConvShape& s,
                       Rectifier rectifier) {
  auto last = conv_is_channels_last<T>(x_in.device(), s);
  auto x = in_order(x_in, last), w = contiguous(w_in);
  auto dense_bias = dense_or_undefined(bias);
  Tensor<T> y;
  if (s.c_in == 0) y = conv_of_nothing(bias, s, rectifier, x.device());
#if defined(GRADUS_CUDA)
  else if (!x.device().is_cpu()) y = CardConv<T>(s, last).forward(x.detach(), w.detach(), dense_bias, rectifier);
#endif
  if (!y.defined()) {
    y = Tensor<T>::empty({s.n, s.c_out, s.oh(), s.ow()}, x.device(), "conv2d");
    convolve<T>(s, x.data(), w.data(), data_or_null(dense_bias), rectifier, reinterpret_cast<T*>(y.impl()->data()));
  }
  y = differentiable("conv2d", y,
                     wrt(x, [w = saved(w), s](const Tensor<T>& dy) { return conv_input_gradient(dy, w(), s); }),
                     wrt(w, [x = saved(x), s](const Tensor<T>& dy) { return conv_weight_gradient(x(), dy, s); }),
                     wrt(bias, [](const Tensor<T>& dy) {
                       return sum(dy, {0, 2, 3});
                     }));
  return record_rectified(y, rectifier);
}

template <Floating T>
Tensor<T> conv_input_gradient(const Tensor<T>& dy_in, const Tensor<T>& w_in, const ConvShape& s) {
  auto last = conv_is_channels_last<T>(dy_in.device(), s);
  auto dy = in_order(dy_in, last), w = contiguous(w_in);
  Tensor<T> dx;
  if (s.c_in == 0) dx = Tensor<T>::empty({s.n, 0, s.h, s.w}, dy.device());
#if defined(GRADUS_CUDA)
  else if (!dy.device().is_cpu()) dx = CardConv<T>(s, last).input_gradient(dy.detach(), w.detach());
#endif
  if (!dx.defined()) {
    dx = Tensor<T>::empty({s.n, s.c_in, s.h, s.w}, dy.device());
    convolve_backward_input<T>(s, dy.data(), w.data(), reinterpret_cast<T*>(dx.impl()->data()));
  }
  return differentiable(
      "conv2d_input_gradient", dx,
      wrt(dy, [w = saved(w), s](const Tensor<T>& ddx) { return conv_forward(ddx, w(), {}, s); }),
      wrt(w, [dy = saved(dy), s](const Tensor<T>& ddx) { return conv_weight_gradient(ddx, dy(), s); }));
}

template <Floating T>
Tensor<T> conv_weight_gradient(const Tensor<T>& x_in, const Tensor<T>& dy_in, const ConvShape& s) {
  auto last = conv_is_channels_last<T>(x_in.device(), s);
  auto x = in_order(x_in, last), dy = in_order(dy_in, last);
  Tensor<T> dw;
  if (s.c_in == 0) dw = Tensor<T>::empty({s.c_out, 0, s.kh, s.kw}, dy.device());
#if defined(GRADUS_CUDA)
  else if (!dy.device().is_cpu()) dw = CardConv<T>(s, last).weight_gradient(x.detach(), dy.detach());
#endif
  if (!dw.defined()) {
    dw = Tensor<T>::empty({s.c_out, s.c_in / s.groups, s.kh, s.kw}, dy.device());
    convolve_backward_weight<T>(s, x.data(), dy.data(), reinterpret_cast<T*>(dw.impl()->data()));
  }
  return differentiable("conv2d_weight_gradient", dw,
                        wrt(x, [dy = saved(dy), s](const Tensor<T>& ddw) { return conv_input_gradient(dy(), ddw, s); }),
                        wrt(dy, [x = saved(x), s](const Tensor<T>& ddw) { return conv_forward(x(), ddw, {}, s); }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Correlates images with kernels. x (n, c, h, w), weight (out, c / groups, kh, kw), bias (out,) or undefined ->
/// (n, out, oh, ow) with oh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1. As torch.nn.functional.conv2d, and
/// with an activation what relu or relu6 makes of that, to the same bits; its gradient reads the result.
/// Throws ShapeError when the channels do not match or the kernel does not fit.
template <Floating T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {},
                 const ConvOptions& options = {}) {
  auto s = detail::conv_shape(x.shape(), weight.shape(), options);
  require<ShapeError>(!bias.defined() || bias.shape() == Shape{s.c_out}, "conv2d: bias is ",
                      bias.defined() ? bias.shape() : Shape(), " but weight is ", weight.shape(),
                      ": the bias must be (", s.c_out, ",)");
  detail::require_device("conv2d", x.device(), weight, bias);
  return detail::conv_forward(x, weight, bias, s, options.activation);
}

}  // namespace gradus::inline GRADUS_BUILD
