#pragma once

#include "gradus/ops/norm/batch_norm_gradient.hpp"

namespace gradus::inline GRADUS_BUILD {

struct BatchNormOptions {
  bool training = true;   ///< normalise with the batch's own mean and variance, and update the running ones
  double momentum = 0.1;  ///< share of the batch in the running mean and variance
  double eps = 1e-5;      ///< added to the variance
  Rectifier activation = Rectifier::none;  ///< applied to the result
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
void check_batch_norm(const Tensor<T>& x, const Tensor<T>& running_mean, const Tensor<T>& running_var,
                      const Tensor<T>& weight, const Tensor<T>& bias, const BatchNormOptions& options,
                      const Tensor<T>& residual) {
  require<ShapeError>(x.rank() >= 2, "batch_norm: input is ", x.shape(), ", but must be (n, channels, ...)");
  auto channels = x.size(1);
  for (const auto* part : {&weight, &bias, &running_mean, &running_var}) {
    require<ShapeError>(!part->defined() || part->shape() == Shape{channels}, "batch_norm: input is ", x.shape(),
                        " but a parameter is ", part->defined() ? part->shape() : Shape(), ": it must be (", channels,
                        ",)");
  }
  require<ShapeError>(!residual.defined() || residual.shape() == x.shape(), "batch_norm: input is ", x.shape(),
                      " but the residual is ", residual.defined() ? residual.shape() : Shape(),
                      ": they must be of one shape");
  require_device("batch_norm", x.device(), weight, bias, running_mean, running_var, residual);
  require<ValueError>(options.training || (running_mean.defined() && running_var.defined()),
                      "batch_norm: without training it needs running_mean and running_var");
  require<ValueError>(!options.training || channels == 0 || x.numel() / channels > 1, "batch_norm: input is ",
                      x.shape(), ", but training needs more than one value a channel");
}

/// running = (1 - momentum) running + momentum factor batch, in place.
template <Floating T>
void move_towards(Tensor<T>& running, const Compute<T>* batch, double momentum, double factor) {
  using C = Compute<T>;
  NoGradGuard guard;
  auto* to = running.mutable_data();
  auto keep = static_cast<C>(1 - momentum), take = static_cast<C>(momentum * factor);
  for (int64_t c = 0; c < running.numel(); ++c) {
    auto& value = to[c * running.strides()[0]];
    value = static_cast<T>(keep * static_cast<C>(value) + take * batch[c]);
  }
}

/// Mean and 1 / sqrt(variance + eps): in training the batch's, towards which the running ones move; else those. x is
/// dense, on a GPU in either order.
template <Floating T, class C = Compute<T>>
std::pair<Tensor<C>, Tensor<C>> batch_norm_moments(const Tensor<T>& x, Tensor<T>& running_mean, Tensor<T>& running_var,
                                                   const BatchNormOptions& options) {
  NoGradGuard guard;
  if (!options.training)
    return {cast<C>(running_mean.detach()).clone(), 1.0 / sqrt(cast<C>(running_var.detach()) + options.eps)};
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu())
    return ChannelNorm<T>("batch_norm", x).moments(options.eps, options.momentum, running_mean, running_var);
#endif
  ChannelBlocks blocks(x.shape());
  auto mean = Tensor<C>::empty({blocks.channels}), inverse = Tensor<C>::empty({blocks.channels});
  Scratch<C> variance(blocks.channels);
  blocks.moments(x.data(), options.eps, mean.mutable_data(), variance.data(), inverse.mutable_data());
  if (running_mean.defined() && running_var.defined()) {
    auto count = static_cast<double>(blocks.per_channel());
    move_towards(running_mean, mean.data(), options.momentum, 1);
    move_towards(running_var, variance.data(), options.momentum, count / (count - 1));
  }
  return {mean, inverse};
}

/// The rectifier of (x - mean) inverse weight + bias + residual (may be undefined). x is dense, residual lies as x
/// does.
template <Floating T>
Tensor<T> normalize_channels(const Tensor<T>& x, const ChannelParameters<T>& channels, const Tensor<T>& residual) {
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) return ChannelNorm<T>("batch_norm", x).normal(channels, residual);
#endif
  using C = Compute<T>;
  auto y = Tensor<T>::empty(x.shape(), x.device(), "batch_norm");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto *from = x.data(), *beside = data_or_null(residual);
  ChannelBlocks blocks(x.shape());
  Scratch<std::array<C, 3>> numbers(blocks.channels);
  channels.write_numbers(numbers.data());
  blocks.for_each_run<T>(RectifierRange<C>(channels.rectifier), numbers.data(),
                         [&](const ChannelRun<C>& run, int64_t offset, int64_t n, bool streamed) {
                           normalize_run<T>(from + offset, beside != nullptr ? beside + offset : nullptr, n, run,
                                            to + offset, streamed);
                         });
  return y;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Normalises each channel over the batch: (x - mean) / sqrt(variance + eps) * weight + bias (Ioffe and Szegedy, 2015),
/// adds `residual` and applies `options.activation`, in one pass. x (n, c, ...), all others but residual (c,); residual
/// as x; weight, bias and residual may be undefined. In training, mean and variance are the batch's, and running_mean
/// and running_var (undefined: none are kept) move towards them by `momentum`, the variance as n / (n - 1) of it; else
/// the running ones are used. As torch.nn.functional.batch_norm.
template <Floating T>
Tensor<T> batch_norm(const Tensor<T>& x_in, Tensor<T> running_mean, Tensor<T> running_var, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, const BatchNormOptions& options = {},
                     const Tensor<T>& residual_in = {}) {
  detail::check_batch_norm(x_in, running_mean, running_var, weight, bias, options, residual_in);
  auto x = detail::in_some_order(x_in);
  auto residual = residual_in;
  if (residual.defined()) residual = detail::in_order(residual, detail::is_channels_last(*x.impl()));
  auto [mean, inverse] = detail::batch_norm_moments(x, running_mean, running_var, options);
  detail::ChannelParameters<T> channels{mean, inverse, detail::dense_or_undefined(weight),
                                        detail::dense_or_undefined(bias), options.activation};
  auto y = detail::normalize_channels<T>(x, channels, residual);
  // What the rectifier cut is seen again in x; with a residual, in the result.
  auto rectifies = options.activation != Rectifier::none, by_result = rectifies && residual.defined();
  auto gradient = [x = saved(x), weight = saved(weight), bias = saved(rectifies && !by_result ? bias : Tensor<T>()),
                   y = saved(by_result ? y.detach() : Tensor<T>()), moments = std::pair(mean, inverse),
                   options](std::array<Tensor<T>, 2>& dys, const std::array<bool, 4>& wanted) {
    const auto& [own_mean, own_inverse] = moments;
    detail::ChannelParameters<T> with{own_mean, own_inverse, detail::dense_or_undefined(weight()),
                                      detail::dense_or_undefined(bias()), options.activation};
    if (!grad_enabled())
      return detail::batch_norm_gradient(dys, x(), with, y, options.training, wanted[1] || wanted[2]);
    auto passed = dys[0];
    if (options.activation != Rectifier::none) {
      auto of_result = [&] { return no_grad([&] { return detail::normalize_channels<T>(x().detach(), with, {}); }); };
      passed = detail::rectified_gradient(passed, y().defined() ? y : saved(of_result()), options.activation);
    }
    return std::tuple_cat(detail::batch_norm_gradient_by_operators(passed, x(), weight(), own_mean, own_inverse,
                                                                   options.training, options.eps),
                          std::tuple(passed));
  };
  return differentiable_adding("batch_norm", y, inputs(x, weight, bias, residual), std::move(gradient));
}

}  // namespace gradus::inline GRADUS_BUILD
