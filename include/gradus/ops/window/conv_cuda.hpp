// Convolutions on a GPU: by cuDNN where it has a plan, else images are unfolded, some at a time, and multiplied.
#pragma once

#include "gradus/device/cpu/conv.hpp"
#include "gradus/device/cuda/cublaslt.hpp"
#include "gradus/device/cuda/cudnn_conv.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/product/matmul.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"
#include "gradus/ops/window/window_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Whether cuDNN shall have images and results channels last: where it multiplies on tensor cores, which read them so.
/// Images of one row are sequences (conv1d): what follows them knows no such order.
template <Floating T>
bool conv_wants_channels_last(Device device, const ConvShape& s) {
  if (device.is_cpu() || s.h == 1 || cuda::detail::CudnnPlans::of(device) == nullptr) return false;
  return HalfWidth<T> || (dtype_of<T> == DType::f32 && cuda::detail::tf32_allowed());
}

/// The three products of a convolution; x and dy are dense, channels last or not, w is row-major. Groups are a leading
/// axis of the products.
template <Floating T>
class CardConv {
 public:
  CardConv(const ConvShape& shape, bool channels_last) : s_(shape), last_(channels_last) {
    plain_ =
        s_.kh == 1 && s_.kw == 1 && s_.stride[0] == 1 && s_.stride[1] == 1 && s_.padding[0] == 0 && s_.padding[1] == 0;
    auto image = s_.c_in * s_.kh * s_.kw * pixels() * int64_t{sizeof(T)};
    chunk_ = std::clamp<int64_t>((int64_t{256} << 20) / std::max<int64_t>(image, 1), 1, std::max<int64_t>(s_.n, 1));
  }

  /// y = x * w + bias (which may be undefined), rectified.
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias, Rectifier rectifier) const {
    NoGradGuard guard;
    auto y = empty_images<T>({s_.n, s_.c_out, s_.oh(), s_.ow()}, x.device(), last_, "conv2d");
    if (y.numel() == 0) return y;
    if (w.numel() == 0) {
      y.zero_();
    } else if (cudnn_finishes(bias, rectifier) && by_cudnn(Kind::convolution_forward, x, w, y, bias, rectifier)) {
      return y;
    } else if (!by_cudnn(Kind::convolution_forward, x, w, y)) {
      if (last_) return planar().forward(contiguous(x), w, bias, rectifier);
      auto weight = reshape(w, {1, s_.groups, out(), depth()});
      for_chunks([&](int64_t first, int64_t n) {
        auto to = reshape(slice(y, 0, first, first + n), {n, s_.groups, out(), pixels()});
        matmul_on_card("conv2d", *weight.impl(), *unfolded(x, first, n).impl(), *to.impl());
      });
    }
    if (!bias.defined() && rectifier == Rectifier::none) return y;
    RectifierRange<Compute<T>> range(rectifier);
    constexpr int64_t width = 16 / sizeof(T);
    launch_window("conv2d", *y.impl(), "finish_images", (y.numel() + width - 1) / width, y.numel(),
                  CudaDivisor(last_ ? 1 : pixels()), CudaDivisor(s_.c_out), y.impl()->data(), data_or_null(bias),
                  range.low, range.high);
    return y;
  }

  Tensor<T> input_gradient(const Tensor<T>& dy, const Tensor<T>& w) const {
    NoGradGuard guard;
    auto dx = empty_images<T>({s_.n, s_.c_in, s_.h, s_.w}, dy.device(), last_);
    if (dx.numel() == 0) return dx;
    if (dy.numel() == 0) {
      dx.zero_();
      return dx;
    }
    if (by_cudnn(Kind::convolution_backward_data, dx, w, dy)) return dx;
    if (last_) return planar().input_gradient(contiguous(dy), w);
    auto weight = transpose(reshape(w, {1, s_.groups, out(), depth()}));
    for_chunks([&](int64_t first, int64_t n) {
      auto from = reshape(slice(dy, 0, first, first + n), {n, s_.groups, out(), pixels()});
      auto part = slice(dx, 0, first, first + n);
      if (plain_) {
        auto to = reshape(part, {n, s_.groups, depth(), pixels()});
        return matmul_on_card("conv2d_input_gradient", *weight.impl(), *from.impl(), *to.impl());
      }
      auto columns = Tensor<T>::empty({n, s_.groups, depth(), pixels()}, dy.device());
      matmul_on_card("conv2d_input_gradient", *weight.impl(), *from.impl(), *columns.impl());
      launch_window("conv2d_input_gradient", *part.impl(), "fold", part.numel(), windows(n), part.impl()->data(),
                    columns.data());
    });
    return dx;
  }

  Tensor<T> weight_gradient(const Tensor<T>& x, const Tensor<T>& dy) const {
    NoGradGuard guard;
    Shape shape{s_.c_out, s_.c_in / s_.groups, s_.kh, s_.kw};
    if (dy.numel() == 0 || shape.numel() == 0) return zeros<T>(shape, dy.device());
    auto dw = Tensor<T>::empty(shape, dy.device());
    if (by_cudnn(Kind::convolution_backward_filter, x, dw, dy)) return dw;
    if (last_) return planar().weight_gradient(contiguous(x), contiguous(dy));
    using C = Compute<T>;
    Tensor<C> total;
    for_chunks([&](int64_t first, int64_t n) {
      auto from = reshape(slice(dy, 0, first, first + n), {n, s_.groups, out(), pixels()});
      auto columns = transpose(unfolded(x, first, n));  // (n, groups, pixels, depth)
      auto each = Tensor<T>::empty({n, s_.groups, out(), depth()}, dy.device());
      matmul_on_card("conv2d_weight_gradient", *from.impl(), *columns.impl(), *each.impl());
      auto part = reduce<SumReducer<C>>("conv2d_weight_gradient", cast<C>(each), 0, false);
      total = total.defined() ? total + part : part;
    });
    return reshape(cast<T>(total), shape);
  }

 private:
  using Kind = cuda::detail::CudnnKind;

  CardConv planar() const { return {s_, false}; }
  /// Whether the forward product leaves its bias and activation to cuDNN. It has compiled engines for a bias and for
  /// relu behind one; for relu without a bias it has none, for relu6 on most cards only its last resort. In TF32 its
  /// plans with a bias turn the images of some convolutions around, which those without do not.
  bool cudnn_finishes(const Tensor<T>& bias, Rectifier rectifier) const {
    auto in_tf32 = dtype_of<T> == DType::f32 && cuda::detail::tf32_allowed();
    return bias.defined() && rectifier != Rectifier::relu6 && !in_tf32;
  }

  /// Whether cuDNN took the work: y = x * w + bias, rectified, or the gradient of x or w from the others. Weights are
  /// given as they lie: where images are channels last, it turns them around in its workspace, which is small.
  bool by_cudnn(int kind, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& y, const Tensor<T>& bias = {},
                Rectifier rectifier = Rectifier::none) const {
    using namespace cuda::detail;
    auto* plans = CudnnPlans::of(x.device());
    if (plans == nullptr) return false;
    ConvGraphShape shape{};
    shape.type = cudnn_type(dtype_of<T>);
    shape.unwanted = CudnnNote::compiled_at_run_time;
    if (deterministic_only()) shape.unwanted |= CudnnNote::nondeterministic;
    if (dtype_of<T> == DType::f32 && !tf32_allowed())
      shape.unwanted |= CudnnNote::tensor_cores | CudnnNote::rounds_inputs | CudnnNote::rounds_sums;
    auto sizes = [](const Tensor<T>& of) {
      const auto& s = of.shape();
      return CudnnSizes{s[0], s[1], s[2], s[3]};
    };
    auto strides = [this](const CudnnSizes& of) {
      return last_ ? cuda::detail::channels_last_strides(of) : dense_strides(of);
    };
    shape.x = sizes(x);
    shape.w = sizes(w);
    shape.y = sizes(y);
    shape.x_strides = strides(shape.x);
    shape.w_strides = dense_strides(shape.w);
    shape.y_strides = strides(shape.y);
    shape.has_bias = bias.defined() ? 1 : 0;
    shape.has_relu = rectifier == Rectifier::relu ? 1 : 0;
    for (size_t i = 0; i < 2; ++i) {
      shape.window.stride[i] = s_.stride[i];
      shape.window.padding[i] = s_.padding[i];
      shape.window.dilation[i] = s_.dilation[i];
    }
    for (const auto* of : {&x, &w, &y, &bias})
      if (of->defined() && reinterpret_cast<uintptr_t>(of->impl()->data()) % 16 != 0) return false;
    const auto* plan = plans->find(
        "conv2d",
        kind == Kind::convolution_forward         ? "convolution"
        : kind == Kind::convolution_backward_data ? "convolution_input_gradient"
                                                  : "convolution_weight_gradient",
        shape, [&](const auto& api, const auto& target) { return plan_convolution(api, kind, shape, target); });
    if (plan == nullptr) return false;
    std::vector<std::pair<int64_t, const void*>> memory = {
        {ConvIds::x, x.impl()->data()}, {ConvIds::w, w.impl()->data()}, {ConvIds::y, y.impl()->data()}};
    if (bias.defined()) memory.emplace_back(ConvIds::bias, bias.impl()->data());
    plans->run(*plan, memory);
    return true;
  }

  int64_t pixels() const { return s_.oh() * s_.ow(); }
  int64_t out() const { return s_.c_out / s_.groups; }
  int64_t depth() const { return s_.c_in / s_.groups * s_.kh * s_.kw; }
  CardWindows windows(int64_t images) const {
    return {images * s_.c_in,
            1,
            s_.h,
            s_.w,
            s_.oh(),
            s_.ow(),
            s_.kh,
            s_.kw,
            {s_.stride[0], s_.stride[1]},
            {s_.padding[0], s_.padding[1]},
            {s_.dilation[0], s_.dilation[1]}};
  }
  template <class Body>
  void for_chunks(Body&& body) const {
    for (int64_t first = 0; first < s_.n; first += chunk_) body(first, std::min(chunk_, s_.n - first));
  }
  /// Images [first, first + n) as (n, groups, depth, pixels).
  Tensor<T> unfolded(const Tensor<T>& x, int64_t first, int64_t n) const {
    auto images = slice(x, 0, first, first + n);
    if (plain_) return reshape(images, {n, s_.groups, depth(), pixels()});
    auto columns = Tensor<T>::empty({n, s_.groups, depth(), pixels()}, x.device(), "conv2d");
    launch_window("conv2d", *columns.impl(), "unfold", columns.numel(), windows(n), columns.impl()->data(),
                  images.data());
    return columns;
  }

  ConvShape s_;
  bool last_;
  bool plain_ = false;
  int64_t chunk_ = 1;
};

}  // namespace gradus::detail::inline GRADUS_BUILD
