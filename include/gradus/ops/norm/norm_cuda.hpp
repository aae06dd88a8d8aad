// layer_norm, rms_norm and batch_norm on a GPU.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/reduction/reduce.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_text = R"cuda(
// visit(i, x[i]) for the elements of a row that are this thread's, W side by side.
template <int W, class Visit>
GRADUS_DEVICE void each_of_row(const Team& team, const T* row, int64 n, const Visit& visit) {
  for (int64 i = team.lane * W; i < n; i += team.size * W) {
    const Pack<T, W> pack = load_pack<W>(row + i);
#pragma unroll
    for (int k = 0; k < W; ++k) visit(i + k, widen(pack.at[k]));
  }
}
template <int W>
GRADUS_DEVICE Pack<C, W> weights_of(const T* weight, int64 i, C missing) {
  Pack<C, W> result;
#pragma unroll
  for (int k = 0; k < W; ++k) result.at[k] = missing;
  if (weight == 0) return result;
  const Pack<T, W> pack = load_pack<W>(weight + i);
#pragma unroll
  for (int k = 0; k < W; ++k) result.at[k] = widen(pack.at[k]);
  return result;
}

// Of layer norm a row's moments are its mean and 1 / sqrt(variance + eps); of rms norm there is no mean. A row is read
// three times, twice out of the cache.
template <int W>
GRADUS_DEVICE void norm_rows(const Team& team, int64 rows, int64 n, int rms, C eps, T* y, C* moments, const T* x,
                             const T* weight, const T* bias) {
  for (int64 row = team.first; row < rows; row += team.step) {
    const T* from = x + row * n;
    C mean = 0;
    if (!rms) {
      each_of_row<W>(team, from, n, [&](int64, C v) { mean += v; });
      mean = team_reduce<Sum>(team, mean, C(0)) / C(n);
    }
    C squares = 0;
    each_of_row<W>(team, from, n, [&](int64, C v) { squares += (v - mean) * (v - mean); });
    const C inverse = C(1) / sqrt(team_reduce<Sum>(team, squares, C(0)) / C(n) + eps);
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> pack = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1)), shift = weights_of<W>(bias, i, C(0));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k)
        result.at[k] = narrow<T>((widen(pack.at[k]) - mean) * inverse * scale.at[k] + shift.at[k]);
      store_pack(y + row * n + i, result);
    }
    if (team.lane == 0) {
      if (rms) {
        moments[row] = inverse;
      } else {
        moments[2 * row] = mean;
        moments[2 * row + 1] = inverse;
      }
    }
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_norm(int64 rows, int64 n, int by_warps, int rms, C eps, T* y, C* moments, const T* x,
                         const T* weight, const T* bias) {
  const Team team = team_of(by_warps != 0);
  if (in_packs(n, x, static_cast<const T*>(y), weight, bias))
    norm_rows<16 / sizeof(T)>(team, rows, n, rms, eps, y, moments, x, weight, bias);
  else norm_rows<1>(team, rows, n, rms, eps, y, moments, x, weight, bias);
}

template <int W>
GRADUS_DEVICE void norm_gradient_rows(const Team& team, int64 rows, int64 n, int rms, T* dx, const T* dy, const T* x,
                                      const T* weight, const C* moments) {
  for (int64 row = team.first; row < rows; row += team.step) {
    const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
    const T *slopes = dy + row * n, *from = x + row * n;
    C plain = 0, scaled = 0;
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> d = load_pack<W>(slopes + i), v = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C g = widen(d.at[k]) * scale.at[k];
        plain += g;
        scaled += g * ((widen(v.at[k]) - mean) * inverse);
      }
    }
    plain = rms ? C(0) : team_reduce<Sum>(team, plain, C(0)) / C(n);
    scaled = team_reduce<Sum>(team, scaled, C(0)) / C(n);
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> d = load_pack<W>(slopes + i), v = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C normal = (widen(v.at[k]) - mean) * inverse;
        result.at[k] = narrow<T>((widen(d.at[k]) * scale.at[k] - plain - normal * scaled) * inverse);
      }
      store_pack(dx + row * n + i, result);
    }
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_norm_gradient(int64 rows, int64 n, int by_warps, int rms, T* dx, const T* dy, const T* x,
                                  const T* weight, const C* moments) {
  const Team team = team_of(by_warps != 0);
  if (in_packs(n, x, static_cast<const T*>(dx), dy, weight))
    norm_gradient_rows<16 / sizeof(T)>(team, rows, n, rms, dx, dy, x, weight, moments);
  else norm_gradient_rows<1>(team, rows, n, rms, dx, dy, x, weight, moments);
}

// Sums over some rows for the gradients of weight and bias: partial (2, parts, n). W columns a thread.
template <int W>
GRADUS_DEVICE void norm_parameter_sums(int64 rows, int64 n, int64 parts, int rms, C* partial, const T* dy, const T* x,
                                       const C* moments) {
  const int64 columns = n / W;
  GRADUS_EACH(task, parts * columns) {
    const int64 part = task / columns, column = (task - part * columns) * W, last = rows * (part + 1) / parts;
    C weights[W], biases[W];
#pragma unroll
    for (int k = 0; k < W; ++k) weights[k] = biases[k] = C(0);
    for (int64 row = rows * part / parts; row < last; ++row) {
      const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
      const Pack<T, W> d = load_pack<W>(dy + row * n + column), v = load_pack<W>(x + row * n + column);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C g = widen(d.at[k]);
        weights[k] += g * ((widen(v.at[k]) - mean) * inverse);
        biases[k] += g;
      }
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
      partial[part * n + column + k] = weights[k];
      partial[(parts + part) * n + column + k] = biases[k];
    }
  }
}
// Four blocks a multiprocessor is all that is launched of it; where it aims at more, the compiler spills registers.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 4)
norm_parameters(int64 rows, int64 n, int64 parts, int rms, C* partial, const T* dy, const T* x, const C* moments) {
  if (in_packs(n, dy, x)) norm_parameter_sums<16 / sizeof(T)>(rows, n, parts, rms, partial, dy, x, moments);
  else norm_parameter_sums<1>(rows, n, parts, rms, partial, dy, x, moments);
}

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
      const Pack<T, W> values = load_pack<W>(x + at);
#pragma unroll
      for (int k = 0; k < W; ++k) sum += widen(values.at[k]);
    });
    const C mean = count > 0 ? block_reduce<Sum>(sum, C(0)) / C(count) : C(0);
    C squares = 0;
    each_of_part<W>(images, channels, plane, parts, task, [&](int64 at) {
      const Pack<T, W> values = load_pack<W>(x + at);
#pragma unroll
      for (int k = 0; k < W; ++k) squares += (widen(values.at[k]) - mean) * (widen(values.at[k]) - mean);
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
// Sums of what dy passes through the rectifier and of that times normal x: partial (2, parts, channels).
template <int W>
GRADUS_DEVICE void channel_slopes(int64 images, int64 channels, int64 plane, int64 parts, C low, C high, C* partial,
                                  const T* x, const T* dy, const C* mean, const C* inverse, const T* weight,
                                  const T* bias) {
  for (int64 task = blockIdx.x; task < channels * parts; task += gridDim.x) {
    const int64 channel = task % channels;
    const C center = mean[channel], root = inverse[channel];
    const C scale = (weight != 0 ? widen(weight[channel]) : C(1)) * root;
    const C shift = bias != 0 ? widen(bias[channel]) : C(0);
    C a = 0, b = 0;
    each_of_part<W>(images, channels, plane, parts, task, [&](int64 at) {
      const Pack<T, W> values = load_pack<W>(x + at), slopes = load_pack<W>(dy + at);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C away = widen(values.at[k]) - center;
        const C g = passed(widen(slopes.at[k]), fma(away, scale, shift), low, high);
        a += g;
        b += g * away * root;
      }
    });
    a = block_reduce<Sum>(a, C(0));
    b = block_reduce<Sum>(b, C(0));
    if (threadIdx.x == 0) {
      partial[task] = a;
      partial[channels * parts + task] = b;
    }
  }
}
GRADUS_WIDE(T, 0)
GRADUS_KERNEL block_channel_slopes(int64 images, int64 channels, int64 plane, int64 parts, C low, C high, C* partial,
                                   const T* x, const T* dy, const C* mean, const C* inverse, const T* weight,
                                   const T* bias) {
  const int whole = 16 / sizeof(T), half = 8 / sizeof(T);
  if (in_packs(plane, x, dy))
    channel_slopes<whole>(images, channels, plane, parts, low, high, partial, x, dy, mean, inverse, weight, bias);
  else if (plane % half == 0 && in_packs(0, x, dy))
    channel_slopes<half>(images, channels, plane, parts, low, high, partial, x, dy, mean, inverse, weight, bias);
  else channel_slopes<1>(images, channels, plane, parts, low, high, partial, x, dy, mean, inverse, weight, bias);
}

// The channel of an element of x (images, channels, plane), and of those that follow it.
struct ChannelWalk {
  int64 plane, channels, place, channel;
};
GRADUS_DEVICE ChannelWalk walk_from(int64 i, int64 channels, int64 plane) {
  const int64 row = i / plane;
  ChannelWalk walk;
  walk.plane = plane;
  walk.channels = channels;
  walk.place = i - row * plane;
  walk.channel = row % channels;
  return walk;
}
// Whether the next element is of another channel.
GRADUS_DEVICE bool goes_on(ChannelWalk& walk) {
  if (++walk.place < walk.plane) return false;
  walk.place = 0;
  if (++walk.channel == walk.channels) walk.channel = 0;
  return true;
}
template <int W>
GRADUS_DEVICE void normalize_channels(int64 count, int64 channels, int64 plane, C low, C high, T* y, const T* x,
                                      const T* residual, const C* mean, const C* inverse, const T* weight,
                                      const T* bias) {
  GRADUS_EACH(task, count / W) {
    ChannelWalk walk = walk_from(task * W, channels, plane);
    const Pack<T, W> values = load_pack<W>(x + task * W);
    Pack<T, W> result, beside;
    if (residual != 0) beside = load_pack<W>(residual + task * W);
    C center = 0, scale = 0, shift = 0;
    bool fresh = true;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      if (fresh) {
        center = mean[walk.channel];
        scale = (weight != 0 ? widen(weight[walk.channel]) : C(1)) * inverse[walk.channel];
        shift = bias != 0 ? widen(bias[walk.channel]) : C(0);
      }
      C z = fma(widen(values.at[k]) - center, scale, shift);
      if (residual != 0) z += widen(beside.at[k]);
      result.at[k] = narrow<T>(rectified(z, low, high));
      fresh = goes_on(walk);
    }
    store_pack(y + task * W, result);
  }
}
// With more than three blocks a multiprocessor in mind, the compiler spills registers.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 3)
channel_norm(int64 count, int64 channels, int64 plane, C low, C high, T* y, const T* x, const T* residual, const C* mean,
             const C* inverse, const T* weight, const T* bias) {
  if (in_packs(count, x, static_cast<const T*>(y), residual))
    normalize_channels<16 / sizeof(T)>(count, channels, plane, low, high, y, x, residual, mean, inverse, weight, bias);
  else normalize_channels<1>(count, channels, plane, low, high, y, x, residual, mean, inverse, weight, bias);
}
// share: 1 / the number of elements of a channel.
template <int W>
GRADUS_DEVICE void channel_gradients(int64 count, int64 channels, int64 plane, C low, C high, C share, T* dx,
                                     const T* dy, const T* x, const C* mean, const C* inverse, const T* weight,
                                     const T* bias, const C* sums) {
  GRADUS_EACH(task, count / W) {
    ChannelWalk walk = walk_from(task * W, channels, plane);
    const Pack<T, W> values = load_pack<W>(x + task * W), slopes = load_pack<W>(dy + task * W);
    Pack<T, W> result;
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
        scaled = sums[channels + walk.channel] * share;
      }
      const C away = widen(values.at[k]) - center;
      const C g = passed(widen(slopes.at[k]), fma(away, scale, shift), low, high);
      result.at[k] = narrow<T>(scale * (g - plain - away * root * scaled));
      fresh = goes_on(walk);
    }
    store_pack(dx + task * W, result);
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL channel_norm_gradient(int64 count, int64 channels, int64 plane, C low, C high, C share, T* dx, const T* dy,
                                    const T* x, const C* mean, const C* inverse, const T* weight, const T* bias,
                                    const C* sums) {
  if (in_packs(count, x, static_cast<const T*>(dx), dy))
    channel_gradients<16 / sizeof(T)>(count, channels, plane, low, high, share, dx, dy, x, mean, inverse, weight, bias,
                                      sums);
  else channel_gradients<1>(count, channels, plane, low, high, share, dx, dy, x, mean, inverse, weight, bias, sums);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm{"norm", cuda_norm_text};

template <Floating T>
const T* data_or_null(const Tensor<T>& x) {
  return x.defined() ? x.data() : nullptr;
}

/// Whether a warp each goes through rows of n elements, or a block each.
inline bool rows_by_warps(int64_t n) { return n <= 4096; }
inline int64_t row_blocks(int64_t rows, int64_t n) { return rows_by_warps(n) ? (rows + 7) / 8 : rows; }

/// y and the moments of rows of x (rows, n).
template <Floating T>
void norm_on_card(const char* op, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, bool rms,
                  double eps, int64_t n, Tensor<T>& y, Tensor<Compute<T>>& moments) {
  auto rows = moments.size(0);
  cuda::detail::launch_blocks(op, x.device(), cuda_norm, {dtype_of<T>}, "block_norm", row_blocks(rows, n), rows, n,
                              rows_by_warps(n) ? 1 : 0, rms ? 1 : 0, static_cast<Compute<T>>(eps), y.impl()->data(),
                              moments.impl()->data(), x.data(), data_or_null(weight), data_or_null(bias));
}
/// Gradients of x and, when wanted, of weight and bias, (n,) each.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> norm_gradient_on_card(const char* op, const Tensor<T>& dy,
                                                                  const Tensor<T>& x, const Tensor<T>& weight,
                                                                  const Tensor<Compute<T>>& moments, bool rms,
                                                                  int64_t n, bool parameters_wanted) {
  using C = Compute<T>;
  auto device = x.device();
  auto rows = moments.size(0);
  auto dx = Tensor<T>::empty(x.shape(), device);
  cuda::detail::launch_blocks(op, device, cuda_norm, {dtype_of<T>}, "block_norm_gradient", row_blocks(rows, n), rows, n,
                              rows_by_warps(n) ? 1 : 0, rms ? 1 : 0, dx.impl()->data(), dy.data(), x.data(),
                              data_or_null(weight), moments.data());
  if (!parameters_wanted) return {dx, {}, {}};
  // As many parts as fill a card with a thread for every 16 bytes of a row, whatever the card: the same bits on each.
  auto columns = std::max<int64_t>(1, n * int64_t{sizeof(T)} / 16);
  auto parts = std::clamp<int64_t>(rows / 16, 1, std::max<int64_t>(1, 131072 / columns));
  auto partial = Tensor<C>::empty({2, parts, n}, device);
  cuda::detail::launch_each(op, device, cuda_norm, {dtype_of<T>}, "norm_parameters", parts * columns, rows, n, parts,
                            rms ? 1 : 0, partial.impl()->data(), dy.data(), x.data(), moments.data());
  NoGradGuard guard;
  auto sums = cast<T>(reduce<SumReducer<C>>(op, partial, 1, false));  // (2, n)
  return {dx, select(sums, 0, 0), select(sums, 0, 1)};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
