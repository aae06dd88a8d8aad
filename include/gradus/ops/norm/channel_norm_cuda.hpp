// Batch norm on a GPU: the launches, for images in planes and for those that lie channels last.
#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/ops/norm/channel_parameters.hpp"
#include "gradus/ops/norm/norm_last_cuda.hpp"
#include "gradus/ops/norm/norm_planes_cuda.hpp"
#include "gradus/ops/norm/norm_totals_cuda.hpp"
#include "gradus/ops/view/reshape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// How the channels of x (images, channels, ...) are gone through: in parts of about 16,384 elements, which a block's
/// cache holds, whatever the card: the same bits on each.
struct ChannelParts {
  int64_t images, channels, plane, parts;

  explicit ChannelParts(const Shape& x)
      : images(x[0]),
        channels(x[1]),
        plane(x.numel() / std::max<int64_t>(images * channels, 1)),
        parts(std::clamp<int64_t>(images * plane / 16384, 1, 1024)) {}
};

/// The launches of batch norm over x (images, channels, ...), dense in either order.
template <Floating T>
class ChannelNorm {
 public:
  using C = Compute<T>;

  ChannelNorm(const char* op, const Tensor<T>& x)
      : op_(op),
        x_(x),
        last_(is_channels_last(*x.impl())),
        planes_(x.shape()),
        rows_(planes_.images * planes_.plane, planes_.channels, int{sizeof(T)}),
        parts_(last_ ? rows_.parts : planes_.parts) {}

  /// Mean and 1 / sqrt(variance + eps) of the channels, (channels,) each; the running ones move, where defined.
  std::pair<Tensor<C>, Tensor<C>> moments(double eps, double momentum, Tensor<T>& running_mean,
                                          Tensor<T>& running_var) const {
    auto device = x_.device();
    auto partial = Tensor<C>::empty({3, parts_, channels()}, device, op_);
    if (last_)
      by_strips("block_channel_moments_last", rows_.rows, channels(), parts_, partial.impl()->data(), x_.data());
    else
      by_blocks("block_channel_moments", channels() * parts_, packs_of_part(), planes_.images, channels(),
                planes_.plane, parts_, partial.impl()->data(), x_.data());
    auto mean = Tensor<C>::empty({channels()}, device, op_), inverse = Tensor<C>::empty({channels()}, device, op_);
    auto moves = running_mean.defined() && running_var.defined();
    auto mean_now = moves ? contiguous(running_mean) : Tensor<T>(),
         var_now = moves ? contiguous(running_var) : Tensor<T>();
    by_blocks("block_join_moments", channels(), parts_, channels(), parts_, static_cast<C>(each()), static_cast<C>(eps),
              static_cast<C>(momentum), mean.impl()->data(), inverse.impl()->data(), memory_or_null(mean_now),
              memory_or_null(var_now), partial.data());
    if (moves) {  // where they are dense there is nothing left to copy
      running_mean.copy_(mean_now);
      running_var.copy_(var_now);
    }
    return {mean, inverse};
  }

  /// The rectifier of (x - mean) inverse weight + bias + residual, which lies as x does.
  Tensor<T> normal(const ChannelParameters<T>& of, const Tensor<T>& residual) const {
    RectifierRange<C> range(of.rectifier);
    auto y = empty_images<T>(x_.shape(), x_.device(), last_, op_);
    launch_over_all("channel_norm", "channel_norm_last", range.low, range.high, y.impl()->data(), x_.data(),
                    data_or_null(residual), of.mean.data(), of.inverse.data(), data_or_null(of.weight),
                    data_or_null(of.bias));
    return y;
  }

  /// Sums over the channels of what of the gradient passes the rectifier, and of that times normal x: (2, parts,
  /// channels). The gradient lies as x does.
  Tensor<C> partial_slopes(const ArrivedGradient<T>& arrived, const ChannelParameters<T>& of) const {
    RectifierRange<C> range(of.rectifier);
    auto partial = Tensor<C>::empty({2, parts_, channels()}, x_.device(), op_);
    auto with = [&](const auto& launch) {
      launch(parts_, range.low, range.high, partial.impl()->data(), x_.data(), arrived.dy, arrived.more, arrived.result,
             arrived.kept, of.mean.data(), of.inverse.data(), data_or_null(of.weight), data_or_null(of.bias));
    };
    if (last_) {
      with([&](const auto&... rest) { by_strips("block_channel_slopes_last", rows_.rows, channels(), rest...); });
    } else {
      with([&](const auto&... rest) {
        by_blocks("block_channel_slopes", channels() * parts_, packs_of_part(), planes_.images, channels(),
                  planes_.plane, rest...);
      });
    }
    return partial;
  }

  /// The gradient of x, from the slopes; `training`: mean and inverse are x's own.
  Tensor<T> gradient(const T* dy, const ChannelParameters<T>& of, const Tensor<C>& sums, bool training) const {
    RectifierRange<C> range(of.rectifier);
    auto share = training ? C(1) / static_cast<C>(each()) : C(0);
    auto dx = empty_images<T>(x_.shape(), x_.device(), last_);
    launch_over_all("channel_norm_gradient", "channel_norm_gradient_last", range.low, range.high, share,
                    dx.impl()->data(), dy, x_.data(), of.mean.data(), of.inverse.data(), data_or_null(of.weight),
                    data_or_null(of.bias), sums.data());
    return dx;
  }

 private:
  int64_t channels() const { return planes_.channels; }
  int64_t each() const { return planes_.images * planes_.plane; }

  /// Of 16 bytes, which a thread reads at once.
  int64_t packs_of_part() const { return each() / parts_ * int64_t{sizeof(T)} / 16 + 1; }

  /// Each block with no more warps than it has work for: others would only take part in its sums.
  template <class... A>
  void by_blocks(const char* entry, int64_t blocks, int64_t work, const A&... arguments) const {
    auto threads = static_cast<int>(std::clamp<int64_t>((work + 31) / 32 * 32, 32, 256));
    cuda::detail::launch(op_, x_.device(), cuda_norm_planes, {dtype_of<T>}, entry,
                         {std::min(blocks, cuda::detail::most_blocks), threads}, arguments...);
  }
  template <class... A>
  void by_strips(const char* entry, const A&... arguments) const {
    cuda::detail::launch_blocks(op_, x_.device(), cuda_norm_last, {dtype_of<T>}, entry, parts_ * rows_.strips,
                                arguments...);
  }
  template <class... A>
  void launch_over_all(const char* planar, const char* last, const A&... arguments) const {
    if (last_) {
      cuda::detail::launch_each(op_, x_.device(), cuda_norm_last, {dtype_of<T>}, last, rows_.packs * rows_.step,
                                rows_.rows, channels(), rows_.step, arguments...);
    } else {
      cuda::detail::launch_each(op_, x_.device(), cuda_norm_planes, {dtype_of<T>}, planar, x_.numel(), x_.numel(),
                                CudaDivisor(channels()), CudaDivisor(planes_.plane), arguments...);
    }
  }

  const char* op_;
  const Tensor<T>& x_;
  bool last_;
  ChannelParts planes_;
  LastParts rows_;
  int64_t parts_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD
