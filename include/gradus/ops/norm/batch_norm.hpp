#pragma once

#include "gradus/ops/norm/channel_blocks.hpp"
#include "gradus/ops/norm/channel_parameters.hpp"
#include "gradus/ops/norm/norm_gradient.hpp"
#include "gradus/ops/pointwise/rectify.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/channel_norm_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct BatchNormOptions {
  bool training = true;   ///< normalise with the batch's own mean and variance, and update the running ones
  double momentum = 0.1;  ///< share of the batch in the running mean and variance
  double eps = 1e-5;      ///< added to the variance
  Rectifier activation = Rectifier::none;  ///< applied to the result
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// (c,) as (1, c, 1, ...), to broadcast over x of that rank.
template <Floating T>
Tensor<T> per_channel(const Tensor<T>& x, int rank) {
  auto shape = Shape::filled(rank, 1);
  shape[1] = x.numel();
  return reshape(x, shape);
}

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

/// Gradients of batch_norm's inputs.
template <Floating T>
using BatchNormGradients = std::tuple<Tensor<T>, Tensor<T>, Tensor<T>, Tensor<T>>;  // x, weight, bias, residual

/// Those of x, weight and bias, in two passes over memory: sums, then dx. The first may also add up the gradient and
/// keep what of it the rectifier passed. `training`: the moments are x's own; if not, and `sums_wanted` is not set,
/// nothing is summed.
template <Floating T, class C = Compute<T>>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> channel_gradients(const ArrivedGradient<T>& arrived, const Tensor<T>& x,
                                                              ChannelParameters<T> channels, bool training,
                                                              bool sums_wanted) {
  ChannelBlocks blocks(x.shape());
  auto dx = Tensor<T>::empty(x.shape()), dw = Tensor<T>::empty({blocks.channels}),
       db = Tensor<T>::empty({blocks.channels});
  Scratch<C> sums(2 * blocks.channels);
  auto *of_dy = arrived.dy, *of_x = x.data();
  auto* inverse = channels.inverse.data();
  RectifierRange<C> range(channels.rectifier);
  Scratch<std::array<C, 3>> numbers(blocks.channels);
  channels.write_numbers(numbers.data());
  if (training || sums_wanted) blocks.gradient_sums<T>(arrived, of_x, range, numbers.data(), sums.data());
  else std::fill_n(sums.data(), 2 * blocks.channels, C(0));
  if (arrived.kept != nullptr) {
    of_dy = arrived.kept;
    range = RectifierRange<C>(Rectifier::none);
  }
  auto* to_weight = reinterpret_cast<T*>(dw.impl()->data());
  auto* to_bias = reinterpret_cast<T*>(db.impl()->data());
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  auto share = training ? C(1) / static_cast<C>(blocks.per_channel()) : C(0);
  Scratch<std::array<C, 5>> slopes(blocks.channels);
  for (int64_t c = 0; c < blocks.channels; ++c) {
    auto plain = sums[2 * c], scaled = sums[2 * c + 1] * inverse[c];  // of dy, of dy normal
    to_bias[c] = static_cast<T>(plain);
    to_weight[c] = static_cast<T>(scaled);
    // dx = scale (dy - mean(dy) - normal mean(dy normal)) = scale dy + slope (x - mean) + rest
    auto [mean, scale, shift] = numbers[c];
    slopes[c] = {mean, scale, shift, -scale * inverse[c] * scaled * share, -scale * plain * share};
  }
  blocks.for_each_run<T>(range, slopes.data(), [&](const ChannelRun<C>& run, int64_t offset, int64_t n, bool streamed) {
    gradient_run<T>(of_dy + offset, of_x + offset, n, run, to + offset, streamed);
  });
  return {dx, dw, db};
}
#if defined(GRADUS_CUDA)
template <Floating T, class C = Compute<T>>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> channel_gradients_on_card(const ArrivedGradient<T>& arrived,
                                                                      const Tensor<T>& x, ChannelParameters<T> channels,
                                                                      bool training, bool sums_wanted) {
  ChannelNorm<T> norm("batch_norm", x);
  // (2, c): of dy, of dy normal
  auto sums = training || sums_wanted ? norm.slopes(arrived, channels) : zeros<C>({2, x.size(1)}, x.device());
  auto* dy = arrived.dy;
  if (arrived.kept != nullptr) {
    dy = arrived.kept;
    channels.rectifier = Rectifier::none;
  }
  auto dx = norm.gradient(dy, channels, sums, training);
  auto rounded = cast<T>(sums);
  return {dx, select(rounded, 0, 1), select(rounded, 0, 0)};
}
#endif

/// All gradients from the sum of dys, the second of which may be undefined. `result` is what batch_norm returned, saved
/// where it tells what the rectifier cut, else undefined.
template <Floating T>
BatchNormGradients<T> batch_norm_gradient(std::array<Tensor<T>, 2>& dys, const Tensor<T>& x,
                                          ChannelParameters<T> channels, const Saved<T>& result, bool training,
                                          bool parameters_wanted) {
  auto turned = is_channels_last(*x.impl());
  auto dy = in_order(dys[0], turned), more = dys[1].defined() ? in_order(dys[1], turned) : Tensor<T>();
  dys = {};
  auto by_result = result().defined();
  if (!training && !parameters_wanted) {  // then there are no sums to do it with
    if (more.defined()) dy = Tensor<T>(add_values<T>(dy.impl(), more.impl()));
    more = {};
    if (by_result) {
      dy = rectified_gradient(dy, result, channels.rectifier);
      channels.rectifier = Rectifier::none;
      by_result = false;
    }
  }
  Tensor<T> told, kept;
  if (by_result || more.defined()) {
    auto spare = by_result ? result.spare() : Tensor<T>();
    if (by_result) told = spare.defined() ? spare : result();
    auto is_ours = dy.impl().unique() && dy.impl()->storage.unique() && dy.impl()->storage->is_own();
    kept = spare.defined() ? spare : is_ours ? dy : empty_images<T>(x.shape(), x.device(), turned, "batch_norm");
  }
  ArrivedGradient<T> arrived{dy.data(), data_or_null(more), data_or_null(told),
                             kept.defined() ? reinterpret_cast<T*>(kept.impl()->data()) : nullptr};
  auto gradients = [&] {
#if defined(GRADUS_CUDA)
    if (!x.device().is_cpu()) return channel_gradients_on_card(arrived, x, channels, training, parameters_wanted);
#endif
    return channel_gradients(arrived, x, channels, training, parameters_wanted);
  }();
  return std::tuple_cat(gradients, std::tuple(kept.defined() ? kept : dy));
}

/// The same in ordinary operators, which can be differentiated again; dy is what the rectifier passed.
template <Floating T, class C = Compute<T>>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> batch_norm_gradient_by_operators(const Tensor<T>& dy, const Tensor<T>& x,
                                                                             const Tensor<T>& weight_in,
                                                                             const Tensor<C>& mean_in,
                                                                             const Tensor<C>& inverse_in,
                                                                             const BatchNormOptions& options) {
  Axes axes;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  auto weight = weight_in.defined() ? per_channel(weight_in, x.rank()) : weight_in;
  if (options.training) return norm_gradient(dy, x, weight, axes, axes, options.eps);
  auto mean = per_channel(cast<T>(mean_in), x.rank()), inverse = per_channel(cast<T>(inverse_in), x.rank());
  auto dx = (weight.defined() ? dy * weight : dy) * inverse;
  return {dx, sum(dy * ((x - mean) * inverse), axes), sum(dy, axes)};
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
  auto dense = [](const Tensor<T>& part) { return detail::dense_or_undefined(part); };
  auto [mean, inverse] = detail::batch_norm_moments(x, running_mean, running_var, options);
  detail::ChannelParameters<T> channels{mean, inverse, dense(weight), dense(bias), options.activation};
  auto y = detail::normalize_channels<T>(x, channels, residual);
  // What the rectifier cut is seen again in x; with a residual, in the result.
  auto rectifies = options.activation != Rectifier::none, by_result = rectifies && residual.defined();
  auto gradient = [x = saved(x), weight = saved(weight), bias = saved(rectifies && !by_result ? bias : Tensor<T>()),
                   y = saved(by_result ? y.detach() : Tensor<T>()), moments = std::pair(mean, inverse), options,
                   dense](std::array<Tensor<T>, 2>& dys, const std::array<bool, 4>& wanted) {
    const auto& [own_mean, own_inverse] = moments;
    detail::ChannelParameters<T> with{own_mean, own_inverse, dense(weight()), dense(bias()), options.activation};
    if (!grad_enabled())
      return detail::batch_norm_gradient(dys, x(), with, y, options.training, wanted[1] || wanted[2]);
    auto passed = dys[0];
    if (options.activation != Rectifier::none) {
      auto of_result = [&] { return no_grad([&] { return detail::normalize_channels<T>(x().detach(), with, {}); }); };
      passed = detail::rectified_gradient(passed, y().defined() ? y : saved(of_result()), options.activation);
    }
    return std::tuple_cat(
        detail::batch_norm_gradient_by_operators(passed, x(), weight(), own_mean, own_inverse, options),
        std::tuple(passed));
  };
  return differentiable_adding("batch_norm", y, inputs(x, weight, bias, residual), std::move(gradient));
}

}  // namespace gradus::inline GRADUS_BUILD
