#pragma once

#include "gradus/ops/norm/channel_blocks.hpp"
#include "gradus/ops/norm/norm_gradient.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/channel_norm_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct BatchNormOptions {
  bool training = true;   ///< normalise with the batch's own mean and variance, and update the running ones
  double momentum = 0.1;  ///< share of the batch in the running mean and variance
  double eps = 1e-5;      ///< added to the variance
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

/// Entry `channel` of a (c,) tensor, or `missing` where there is none.
template <Floating T>
Compute<T> channel_value(const Tensor<T>& x, int64_t channel, Compute<T> missing) {
  return x.defined() ? static_cast<Compute<T>>(x.data()[channel * x.strides()[0]]) : missing;
}

/// y = (x - mean) / sqrt(variance + eps) * weight + bias with the batch's statistics; x is dense.
template <Floating T>
Tensor<T> normalize_channels(const Tensor<T>& x, const ChannelBlocks& blocks,
                             const ChannelStatistics<Compute<T>>& statistics, const Tensor<T>& weight,
                             const Tensor<T>& bias) {
  using C = Compute<T>;
  auto y = Tensor<T>::empty(x.shape(), x.device());
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto* from = x.data();
  auto streamed = rows_are_streamed<T>(blocks.images * blocks.channels, blocks.plane);
  blocks.for_each(streamed, [&](int64_t channel, int64_t offset, int64_t n) {
    auto scale = channel_value(weight, channel, C(1)) * statistics.inverse[channel];
    normalize_plane<T>(from + offset, n, statistics.mean[channel], scale, channel_value(bias, channel, C(0)),
                       to + offset, streamed);
  });
  return y;
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

/// What normalising with the batch's statistics passes back, in two passes over memory: sums, then dx.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> batch_norm_gradient(const Tensor<T>& dy_in, const Tensor<T>& x,
                                                                const Tensor<T>& weight,
                                                                const ChannelStatistics<Compute<T>>& statistics) {
  using C = Compute<T>;
  auto dy = contiguous(dy_in);
  ChannelBlocks blocks(x.shape());
  auto dx = Tensor<T>::empty(x.shape()), dw = Tensor<T>::empty({blocks.channels}),
       db = Tensor<T>::empty({blocks.channels});
  Scratch<C> sums(2 * blocks.channels);
  auto *of_dy = dy.data(), *of_x = x.data();
  blocks.sum_pairs(sums.data(), [&](int64_t channel, int64_t offset, int64_t n, int64_t stride) {
    return channel_gradient_sums<T>(of_dy + offset, of_x + offset, n, blocks.plane, stride, statistics.mean[channel],
                                    statistics.inverse[channel]);
  });
  auto* to_weight = reinterpret_cast<T*>(dw.impl()->data());
  auto* to_bias = reinterpret_cast<T*>(db.impl()->data());
  auto* to = reinterpret_cast<T*>(dx.impl()->data());
  for (int64_t c = 0; c < blocks.channels; ++c) {
    to_bias[c] = static_cast<T>(sums[2 * c]);
    to_weight[c] = static_cast<T>(sums[2 * c + 1]);
  }
  auto streamed = rows_are_streamed<T>(blocks.images * blocks.channels, blocks.plane);
  blocks.for_each(streamed, [&](int64_t channel, int64_t offset, int64_t n) {
    auto count = static_cast<C>(blocks.per_channel());
    auto inverse = statistics.inverse[channel], m = statistics.mean[channel];
    auto scale = channel_value(weight, channel, C(1)) * inverse;
    // dx = scale (dy - mean(dy) - normal mean(dy normal)) = scale dy + slope x + rest
    auto slope = -scale * inverse * sums[2 * channel + 1] / count;
    auto rest = -scale * sums[2 * channel] / count - slope * m;
    plane_gradient<T>(of_dy + offset, of_x + offset, n, scale, slope, rest, to + offset, streamed);
  });
  return {dx, dw, db};
}

/// The same in ordinary operators, which can be differentiated again.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> batch_norm_gradient_by_operators(const Tensor<T>& dy, const Tensor<T>& x,
                                                                             const Tensor<T>& weight, double eps) {
  Axes axes;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  return norm_gradient(dy, x, weight.defined() ? per_channel(weight, x.rank()) : weight, axes, axes, eps);
}

#if defined(GRADUS_CUDA)
/// Normalising with the batch's statistics on a GPU; x is dense, in either order.
template <Floating T>
Tensor<T> batch_norm_on_card(const Tensor<T>& x, Tensor<T>& running_mean, Tensor<T>& running_var,
                             const Tensor<T>& weight_in, const Tensor<T>& bias_in, const BatchNormOptions& options) {
  static constexpr const char* name = "batch_norm";
  auto weight = weight_in.defined() ? contiguous(weight_in.detach()) : weight_in;
  auto bias = bias_in.defined() ? contiguous(bias_in.detach()) : bias_in;
  ChannelNorm<T> norm(name, x);
  auto moments = no_grad([&] { return norm.moments(options.eps, options.momentum, running_mean, running_var); });
  auto mean = moments.first, inverse = moments.second;  // (c,)
  return differentiable(
      name, norm.normal(mean, inverse, weight, bias), inputs(x, weight_in, bias_in),
      [x = saved(x), weight = saved(weight_in), mean, inverse, eps = options.eps](
          const Tensor<T>& dy_in, std::array<bool, 3>) -> std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> {
        if (grad_enabled()) return batch_norm_gradient_by_operators(dy_in, x(), weight(), eps);
        ChannelNorm<T> of(name, x());
        auto dy = in_order(dy_in, of.channels_last());
        auto dense_weight = weight().defined() ? contiguous(weight().detach()) : weight();
        auto sums = of.slopes(dy, mean, inverse);  // (2, c): of dy, of dy normal
        auto dx = of.gradient(dy, mean, inverse, dense_weight, sums);
        auto rounded = cast<T>(sums);
        return {dx, select(rounded, 0, 1), select(rounded, 0, 0)};
      });
}
#endif

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Normalises each channel over the batch: (x - mean) / sqrt(variance + eps) * weight + bias (Ioffe and Szegedy, 2015).
/// x (n, c, ...), all others (c,); weight and bias may be undefined. In training, mean and variance are the batch's,
/// and running_mean and running_var (undefined: none are kept) move towards them by `momentum`, the variance as n / (n
/// - 1) of it; else the running ones are used. As torch.nn.functional.batch_norm.
template <Floating T>
Tensor<T> batch_norm(const Tensor<T>& x_in, Tensor<T> running_mean, Tensor<T> running_var, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, const BatchNormOptions& options = {}) {
  require<ShapeError>(x_in.rank() >= 2, "batch_norm: input is ", x_in.shape(), ", but must be (n, channels, ...)");
  auto channels = x_in.size(1);
  for (const auto* part :
       {&weight, &bias, static_cast<const Tensor<T>*>(&running_mean), static_cast<const Tensor<T>*>(&running_var)}) {
    require<ShapeError>(!part->defined() || part->shape() == Shape{channels}, "batch_norm: input is ", x_in.shape(),
                        " but a parameter is ", part->defined() ? part->shape() : Shape(), ": it must be (", channels,
                        ",)");
  }
  detail::require_device("batch_norm", x_in.device(), weight, bias, running_mean, running_var);
  if (!options.training) {
    require<ValueError>(running_mean.defined() && running_var.defined(),
                        "batch_norm: without training it needs running_mean and running_var");
    auto scale = 1.0 / sqrt(running_var.detach() + options.eps);  // (c,)
    if (weight.defined()) scale = scale * weight;
    auto shift = -(running_mean.detach() * scale);
    if (bias.defined()) shift = shift + bias;
    return detail::scale_shift_formula(x_in, detail::per_channel(scale, x_in.rank()),
                                       detail::per_channel(shift, x_in.rank()));
  }
  auto x = detail::in_some_order(x_in);
  detail::ChannelBlocks blocks(x.shape());
  auto count = blocks.per_channel();
  require<ValueError>(count > 1 || channels == 0, "batch_norm: input is ", x.shape(),
                      ", but training needs more than one value a channel");
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) return detail::batch_norm_on_card(x, running_mean, running_var, weight, bias, options);
#endif
  detail::ChannelStatistics<Compute<T>> statistics(channels);
  blocks.moments(x.data(), statistics, options.eps);
  auto y = detail::normalize_channels(x, blocks, statistics, weight, bias);  // shape of x
  if (running_mean.defined() && running_var.defined()) {
    auto unbias = static_cast<double>(count) / static_cast<double>(count - 1);
    detail::move_towards(running_mean, statistics.mean, options.momentum, 1);
    detail::move_towards(running_var, statistics.variance, options.momentum, unbias);
  }
  return differentiable(
      "batch_norm", y, inputs(x, weight, bias),
      [x = saved(x), weight = saved(weight), statistics, eps = options.eps](const Tensor<T>& dy, std::array<bool, 3>) {
        if (!grad_enabled()) return detail::batch_norm_gradient(dy, x(), weight(), statistics);
        return detail::batch_norm_gradient_by_operators(dy, x(), weight(), eps);
      });
}

}  // namespace gradus::inline GRADUS_BUILD
