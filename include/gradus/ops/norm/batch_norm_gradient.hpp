// What batch norm passes back: by its own passes over memory, or in operators that can be differentiated again.
#pragma once

#include "gradus/ops/norm/channel_blocks.hpp"
#include "gradus/ops/norm/norm_gradient.hpp"
#include "gradus/ops/pointwise/rectify.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/channel_norm_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// (c,) as (1, c, 1, ...), to broadcast over x of that rank.
template <Floating T>
Tensor<T> per_channel(const Tensor<T>& x, int rank) {
  auto shape = Shape::filled(rank, 1);
  shape[1] = x.numel();
  return reshape(x, shape);
}

/// Gradients of batch_norm's inputs.
template <Floating T>
using BatchNormGradients = std::tuple<Tensor<T>, Tensor<T>, Tensor<T>, Tensor<T>>;  // x, weight, bias, residual

/// Those of x, weight and bias, in two passes over memory: sums, then dx. The first may also add up the gradient and
/// keep what of it the rectifier passed. `training`: the moments are x's own; if not, and `sums_wanted` is not set,
/// nothing is summed.
template <Floating T, class C = Compute<T>>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> channel_gradients(const ArrivedGradient<T>& arrived, const Tensor<T>& x,
                                                              const ChannelParameters<T>& channels, bool training,
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
  auto empty = [&] { return sums_wanted ? Tensor<T>::empty({x.size(1)}, x.device()) : Tensor<T>(); };
  auto sums = Tensor<C>::empty({2, x.size(1)}, x.device());  // of dy, of dy normal
  auto dw = empty(), db = empty();
  if (training || sums_wanted) norm_totals_on_card("batch_norm", norm.partial_slopes(arrived, channels), sums, db, dw);
  else sums.fill_(0);
  auto* dy = arrived.dy;
  if (arrived.kept != nullptr) {
    dy = arrived.kept;
    channels.rectifier = Rectifier::none;
  }
  return {norm.gradient(dy, channels, sums, training), dw, db};
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
    auto is_ours = is_nobody_elses(dy.impl());
    kept = spare.defined() ? spare : is_ours ? dy : empty_images<T>(x.shape(), x.device(), turned, "batch_norm");
  }
  ArrivedGradient<T> arrived{dy.data(), data_or_null(more), data_or_null(told), memory_or_null(kept)};
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
                                                                             const Tensor<C>& inverse_in, bool training,
                                                                             double eps) {
  Axes axes;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  auto weight = weight_in.defined() ? per_channel(weight_in, x.rank()) : weight_in;
  if (training) return norm_gradient(dy, x, weight, axes, axes, eps);
  auto mean = per_channel(cast<T>(mean_in), x.rank()), inverse = per_channel(cast<T>(inverse_in), x.rank());
  auto dx = (weight.defined() ? dy * weight : dy) * inverse;
  return {dx, sum(dy * ((x - mean) * inverse), axes), sum(dy, axes)};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
