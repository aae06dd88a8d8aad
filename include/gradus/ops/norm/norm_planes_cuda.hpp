// Kernels of batch norm on a GPU for images in planes: (images, channels, plane).
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_planes_text = R"cuda(
// Channels of x (images, channels, plane), a block a channel and part of the images. visit(place, element of the part)
// for this thread's packs of W, which divides the plane; returns how many elements the part has.
template <int W, class Visit>
GRADUS_DEVICE int64 each_of_part(int64 images, int64 channels, int64 plane, int64 parts, int64 task, const Visit& visit) {
  const int64 part = task / channels, channel = task - part * channels, packs = plane / W;
  const int64 first = images * packs * part / parts, last = images * packs * (part + 1) / parts;
  for (int64 i = first + threadIdx.x; i < last; i += blockDim.x) {
    const int64 image = i / packs;
    visit((image * channels + channel) * plane + (i - image * packs) * W);
  }
  return (last - first) * W;
}
// Number of values, mean and squared distances from it: partial (3, parts, channels). A part is read twice, the second
// time out of the cache.
template <int W>
GRADUS_DEVICE void channel_moments(int64 images, int64 channels, int64 plane, int64 parts, C* partial, const T* x) {
  for (int64 task = blockIdx.x; task < channels * parts; task += gridDim.x) {
    C sum = 0;
    const int64 count = each_of_part<W>(images, channels, plane, parts, task, [&](int64 at) {
      const Pack<C, W> values = widen_pack(load_pack<W>(x + at));
#pragma unroll
      for (int k = 0; k < W; ++k) sum += values.at[k];
    });
    const C mean = count > 0 ? block_reduce<Sum>(sum, C(0)) / C(count) : C(0);
    C squares = 0;
    each_of_part<W>(images, channels, plane, parts, task, [&](int64 at) {
      const Pack<C, W> values = widen_pack(load_pack<W>(x + at));
#pragma unroll
      for (int k = 0; k < W; ++k) squares += (values.at[k] - mean) * (values.at[k] - mean);
    });
    squares = block_reduce<Sum>(squares, C(0));
    if (threadIdx.x == 0) {
      partial[task] = C(count);
      partial[channels * parts + task] = mean;
      partial[2 * channels * parts + task] = squares;
    }
  }
}
GRADUS_WIDE(T, 0)
GRADUS_KERNEL block_channel_moments(int64 images, int64 channels, int64 plane, int64 parts, C* partial, const T* x) {
  const int whole = 16 / sizeof(T), half = 8 / sizeof(T);
  if (in_packs(plane, x)) channel_moments<whole>(images, channels, plane, parts, partial, x);
  else if (plane % half == 0 && in_packs(0, x)) channel_moments<half>(images, channels, plane, parts, partial, x);
  else channel_moments<1>(images, channels, plane, parts, partial, x);
}
// Mean and 1 / sqrt(variance + eps) of each channel out of its parts, a block a channel; the running ones, where there
// are any, move towards them, the variance as n / (n - 1) of it.
GRADUS_KERNEL block_join_moments(int64 channels, int64 parts, C count, C eps, C momentum, C* mean, C* inverse,
                                 T* running_mean, T* running_var, const C* partial) {
  for (int64 channel = blockIdx.x; channel < channels; channel += gridDim.x) {
    const C* counts = partial + channel;
    const C* means = counts + channels * parts;
    const C* squares = means + channels * parts;
    C sum = 0;
    for (int64 p = threadIdx.x; p < parts; p += blockDim.x) sum += counts[p * channels] * means[p * channels];
    const C center = block_reduce<Sum>(sum, C(0)) / count;
    C spread = 0;
    for (int64 p = threadIdx.x; p < parts; p += blockDim.x) {
      const C away = means[p * channels] - center;
      spread += squares[p * channels] + counts[p * channels] * away * away;
    }
    const C variance = block_reduce<Sum>(spread, C(0)) / count;
    if (threadIdx.x == 0) {
      mean[channel] = center;
      inverse[channel] = C(1) / sqrt(variance + eps);
      if (running_mean != 0) {
        const C keep = C(1) - momentum, unbiased = variance * (count / (count - C(1)));
        running_mean[channel] = narrow<T>(keep * widen(running_mean[channel]) + momentum * center);
        running_var[channel] = narrow<T>(keep * widen(running_var[channel]) + momentum * unbiased);
      }
    }
  }
}
// Sums of what of dy + more passes the rectifier and of that times normal x: partial (2, parts, channels). It is kept
// where kept is not 0; result, if not 0, tells in x's place what the rectifier cut.
template <int W>
GRADUS_DEVICE void channel_slopes(int64 images, int64 channels, int64 plane, int64 parts, C low, C high, C* partial,
                                  const T* x, const T* dy, const T* more, const T* result, T* kept, const C* mean,
                                  const C* inverse, const T* weight, const T* bias) {
  for (int64 task = blockIdx.x; task < channels * parts; task += gridDim.x) {
    const int64 channel = task % channels;
    const C center = mean[channel], root = inverse[channel];
    const C scale = (weight != 0 ? widen(weight[channel]) : C(1)) * root;
    const C shift = bias != 0 ? widen(bias[channel]) : C(0);
    C a = 0, b = 0;
    each_of_part<W>(images, channels, plane, parts, task, [&](int64 at) {
      const Words<T, W> values = load_pack<W>(x + at), slopes = load_pack<W>(dy + at);
      Words<T, W> others, told;
      if (more != 0) others = load_pack<W>(more + at);
      if (result != 0) told = load_pack<W>(result + at);
      const Pack<C, W> v = widen_pack(values), d = widen_pack(slopes), m = widen_pack(others), r = widen_pack(told);
      Pack<C, W> g;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C away = v.at[k] - center, arrived = more != 0 ? d.at[k] + m.at[k] : d.at[k];
        g.at[k] = passed(arrived, result != 0 ? r.at[k] : fma(away, scale, shift), low, high);
        a += g.at[k];
        b += g.at[k] * away * root;
      }
      if (kept != 0) store_pack(kept + at, narrow_pack<T>(g));
    });
    a = block_reduce<Sum>(a, C(0));
    b = block_reduce<Sum>(b, C(0));
    if (threadIdx.x == 0) {
      partial[task] = a;
      partial[channels * parts + task] = b;
    }
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_channel_slopes(int64 images, int64 channels, int64 plane, int64 parts, C low, C high, C* partial,
                                   const T* x, const T* dy, const T* more, const T* result, T* kept, const C* mean,
                                   const C* inverse, const T* weight, const T* bias) {
  const int whole = 16 / sizeof(T), half = 8 / sizeof(T);
  const bool aligned = in_packs(0, x, dy, more, result) && in_packs(0, static_cast<const T*>(kept));
  if (aligned && plane % whole == 0)
    channel_slopes<whole>(images, channels, plane, parts, low, high, partial, x, dy, more, result, kept, mean, inverse,
                          weight, bias);
  else if (aligned && plane % half == 0)
    channel_slopes<half>(images, channels, plane, parts, low, high, partial, x, dy, more, result, kept, mean, inverse,
                         weight, bias);
  else
    channel_slopes<1>(images, channels, plane, parts, low, high, partial, x, dy, more, result, kept, mean, inverse,
                      weight, bias);
}

// The channel of an element of x (images, channels, plane), and of those that follow it; `whole`: all of the same.
template <bool whole>
struct ChannelWalk {
  int64 plane, channels, place, channel;
};
template <bool whole>
GRADUS_DEVICE ChannelWalk<whole> walk_from(int64 i, const Divisor& channels, const Divisor& plane) {
  const int64 row = plane.of(i);
  ChannelWalk<whole> walk;
  walk.plane = plane.size;
  walk.channels = channels.size;
  walk.place = i - row * plane.size;
  walk.channel = row - channels.of(row) * channels.size;
  return walk;
}
// Whether the next element is of another channel.
GRADUS_DEVICE bool goes_on(ChannelWalk<true>&) { return false; }
GRADUS_DEVICE bool goes_on(ChannelWalk<false>& walk) {
  if (++walk.place < walk.plane) return false;
  walk.place = 0;
  if (++walk.channel == walk.channels) walk.channel = 0;
  return true;
}
template <int W, bool whole>
GRADUS_DEVICE void normalize_channels(int64 count, const Divisor& channels, const Divisor& plane, C low, C high, T* y,
                                      const T* x, const T* residual, const C* mean, const C* inverse, const T* weight,
                                      const T* bias) {
  GRADUS_EACH(task, count / W) {
    auto walk = walk_from<whole>(task * W, channels, plane);
    const Words<T, W> values = load_pack<W>(x + task * W);
    Words<T, W> beside;
    if (residual != 0) beside = load_pack<W>(residual + task * W);
    Pack<C, W> z = widen_pack(values);
    const Pack<C, W> more = widen_pack(beside);
    C center = 0, scale = 0, shift = 0;
    bool fresh = true;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      if (fresh) {
        center = mean[walk.channel];
        scale = (weight != 0 ? widen(weight[walk.channel]) : C(1)) * inverse[walk.channel];
        shift = bias != 0 ? widen(bias[walk.channel]) : C(0);
      }
      z.at[k] = fma(z.at[k] - center, scale, shift);
      if (residual != 0) z.at[k] += more.at[k];
      z.at[k] = rectified(z.at[k], low, high);
      fresh = goes_on(walk);
    }
    store_pack(y + task * W, narrow_pack<T>(z));
  }
}
// With more than three blocks a multiprocessor in mind, the compiler spills registers.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 3)
channel_norm(int64 count, const __grid_constant__ Divisor channels, const __grid_constant__ Divisor plane, C low, C high,
             T* y, const T* x, const T* residual, const C* mean, const C* inverse, const T* weight, const T* bias) {
  const int wide = 16 / sizeof(T);
  const bool packs = in_packs(count, x, static_cast<const T*>(y), residual);
  if (packs && plane.size % wide == 0)
    normalize_channels<wide, true>(count, channels, plane, low, high, y, x, residual, mean, inverse, weight, bias);
  else if (packs)
    normalize_channels<wide, false>(count, channels, plane, low, high, y, x, residual, mean, inverse, weight, bias);
  else normalize_channels<1, true>(count, channels, plane, low, high, y, x, residual, mean, inverse, weight, bias);
}
// share: 1 / the number of elements of a channel.
template <int W, bool whole>
GRADUS_DEVICE void channel_gradients(int64 count, const Divisor& channels, const Divisor& plane, C low, C high, C share,
                                     T* dx, const T* dy, const T* x, const C* mean, const C* inverse, const T* weight,
                                     const T* bias, const C* sums) {
  GRADUS_EACH(task, count / W) {
    auto walk = walk_from<whole>(task * W, channels, plane);
    const Words<T, W> values = load_pack<W>(x + task * W), slopes = load_pack<W>(dy + task * W);
    const Pack<C, W> v = widen_pack(values), d = widen_pack(slopes);
    Pack<C, W> result;
    C center = 0, root = 0, scale = 0, shift = 0, plain = 0, scaled = 0;
    bool fresh = true;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      if (fresh) {
        center = mean[walk.channel];
        root = inverse[walk.channel];
        scale = (weight != 0 ? widen(weight[walk.channel]) : C(1)) * root;
        shift = bias != 0 ? widen(bias[walk.channel]) : C(0);
        plain = sums[walk.channel] * share;
        scaled = sums[channels.size + walk.channel] * share;
      }
      const C away = v.at[k] - center;
      const C g = passed(d.at[k], fma(away, scale, shift), low, high);
      result.at[k] = scale * (g - plain - away * root * scaled);
      fresh = goes_on(walk);
    }
    store_pack(dx + task * W, narrow_pack<T>(result));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL channel_norm_gradient(int64 count, const __grid_constant__ Divisor channels,
                                    const __grid_constant__ Divisor plane, C low, C high, C share, T* dx, const T* dy,
                                    const T* x, const C* mean, const C* inverse, const T* weight, const T* bias,
                                    const C* sums) {
  const int wide = 16 / sizeof(T);
  const bool packs = in_packs(count, x, static_cast<const T*>(dx), dy);
  if (packs && plane.size % wide == 0)
    channel_gradients<wide, true>(count, channels, plane, low, high, share, dx, dy, x, mean, inverse, weight, bias,
                                  sums);
  else if (packs)
    channel_gradients<wide, false>(count, channels, plane, low, high, share, dx, dy, x, mean, inverse, weight, bias,
                                   sums);
  else
    channel_gradients<1, true>(count, channels, plane, low, high, share, dx, dy, x, mean, inverse, weight, bias, sums);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm_planes{"norm_planes", cuda_norm_planes_text};

}  // namespace gradus::detail::inline GRADUS_BUILD
