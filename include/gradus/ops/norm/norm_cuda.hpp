// layer_norm, rms_norm and batch_norm on a GPU.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/reduction/reduce.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_text = R"cuda(
// Of layer norm a row's moments are its mean and 1 / sqrt(variance + eps); of rms norm there is no mean.
GRADUS_KERNEL block_norm(int64 rows, int64 n, int rms, C eps, T* y, C* moments, const T* x, const T* weight,
                         const T* bias) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* from = x + row * n;
    C mean = 0;
    if (!rms) {
      for (int64 i = threadIdx.x; i < n; i += blockDim.x) mean += widen(from[i]);
      mean = block_reduce<Sum>(mean, C(0)) / C(n);
    }
    C squares = 0;
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      const C v = widen(from[i]) - mean;
      squares += v * v;
    }
    const C inverse = C(1) / sqrt(block_reduce<Sum>(squares, C(0)) / C(n) + eps);
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      C v = (widen(from[i]) - mean) * inverse;
      if (weight != 0) v *= widen(weight[i]);
      if (bias != 0) v += widen(bias[i]);
      y[row * n + i] = narrow<T>(v);
    }
    if (threadIdx.x == 0) {
      if (rms) {
        moments[row] = inverse;
      } else {
        moments[2 * row] = mean;
        moments[2 * row + 1] = inverse;
      }
    }
  }
}
GRADUS_KERNEL block_norm_gradient(int64 rows, int64 n, int rms, T* dx, const T* dy, const T* x, const T* weight,
                                  const C* moments) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
    C plain = 0, scaled = 0;
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      const C g = widen(dy[row * n + i]) * (weight != 0 ? widen(weight[i]) : C(1));
      plain += g;
      scaled += g * ((widen(x[row * n + i]) - mean) * inverse);
    }
    plain = rms ? C(0) : block_reduce<Sum>(plain, C(0)) / C(n);
    scaled = block_reduce<Sum>(scaled, C(0)) / C(n);
    for (int64 i = threadIdx.x; i < n; i += blockDim.x) {
      const C g = widen(dy[row * n + i]) * (weight != 0 ? widen(weight[i]) : C(1));
      const C normal = (widen(x[row * n + i]) - mean) * inverse;
      dx[row * n + i] = narrow<T>((g - plain - normal * scaled) * inverse);
    }
  }
}
// Sums over some rows for the gradients of weight and bias: partial (2, parts, n).
GRADUS_KERNEL norm_parameters(int64 rows, int64 n, int64 parts, int rms, C* partial, const T* dy, const T* x,
                              const C* moments) {
  GRADUS_EACH(task, parts * n) {
    const int64 column = task % n, part = task / n;
    C weights = 0, biases = 0;
    for (int64 row = rows * part / parts; row < rows * (part + 1) / parts; ++row) {
      const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
      const C g = widen(dy[row * n + column]);
      weights += g * ((widen(x[row * n + column]) - mean) * inverse);
      biases += g;
    }
    partial[part * n + column] = weights;
    partial[(parts + part) * n + column] = biases;
  }
}

// Channels of x (images, channels, plane), a block a channel and part of the images. mode 0: the sum of x; 1: of
// (x - mean)^2; 2: of dy and of dy normal. partial (1 or 2, parts, channels).
GRADUS_KERNEL block_channel_sums(int64 images, int64 channels, int64 plane, int64 parts, int mode, C* partial,
                                 const T* x, const T* dy, const C* mean, const C* inverse) {
  for (int64 task = blockIdx.x; task < channels * parts; task += gridDim.x) {
    const int64 channel = task % channels, part = task / channels;
    const int64 first = images * plane * part / parts, last = images * plane * (part + 1) / parts;
    const C center = mode == 0 ? C(0) : mean[channel], scale = mode == 2 ? inverse[channel] : C(1);
    C a = 0, b = 0;
    for (int64 i = first + threadIdx.x; i < last; i += blockDim.x) {
      const int64 image = i / plane, at = (image * channels + channel) * plane + (i - image * plane);
      const C v = (widen(x[at]) - center) * scale;
      if (mode == 2) {
        const C g = widen(dy[at]);
        a += g;
        b += g * v;
      } else {
        a += mode == 0 ? v : v * v;
      }
    }
    a = block_reduce<Sum>(a, C(0));
    if (mode == 2) b = block_reduce<Sum>(b, C(0));
    if (threadIdx.x == 0) {
      partial[part * channels + channel] = a;
      if (mode == 2) partial[(parts + part) * channels + channel] = b;
    }
  }
}
GRADUS_KERNEL channel_norm(int64 count, int64 channels, int64 plane, T* y, const T* x, const C* mean, const C* inverse,
                           const T* weight, const T* bias) {
  GRADUS_EACH(i, count) {
    const int64 channel = i / plane % channels;
    C v = (widen(x[i]) - mean[channel]) * ((weight != 0 ? widen(weight[channel]) : C(1)) * inverse[channel]);
    if (bias != 0) v += widen(bias[channel]);
    y[i] = narrow<T>(v);
  }
}
GRADUS_KERNEL channel_norm_gradient(int64 count, int64 channels, int64 plane, C each, T* dx, const T* dy, const T* x,
                                    const C* mean, const C* inverse, const T* weight, const C* sums) {
  GRADUS_EACH(i, count) {
    const int64 channel = i / plane % channels;
    const C scale = (weight != 0 ? widen(weight[channel]) : C(1)) * inverse[channel];
    const C normal = (widen(x[i]) - mean[channel]) * inverse[channel];
    dx[i] = narrow<T>(scale * (widen(dy[i]) - sums[channel] / each - normal * (sums[channels + channel] / each)));
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm{"norm", cuda_norm_text};

template <Floating T>
const T* data_or_null(const Tensor<T>& x) {
  return x.defined() ? x.data() : nullptr;
}

/// y and the moments of rows of x (rows, n).
template <Floating T>
void norm_on_card(const char* op, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, bool rms,
                  double eps, int64_t n, Tensor<T>& y, Tensor<Compute<T>>& moments) {
  auto rows = moments.size(0);
  cuda::detail::launch_blocks(op, x.device(), cuda_norm, {dtype_of<T>}, "block_norm", rows, rows, n, rms ? 1 : 0,
                              static_cast<Compute<T>>(eps), y.impl()->data(), moments.impl()->data(), x.data(),
                              data_or_null(weight), data_or_null(bias));
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
  cuda::detail::launch_blocks(op, device, cuda_norm, {dtype_of<T>}, "block_norm_gradient", rows, rows, n, rms ? 1 : 0,
                              dx.impl()->data(), dy.data(), x.data(), data_or_null(weight), moments.data());
  if (!parameters_wanted) return {dx, {}, {}};
  auto parts = std::clamp<int64_t>(rows / 16, 1, std::max<int64_t>(1, 65536 / std::max<int64_t>(n, 1)));
  auto partial = Tensor<C>::empty({2, parts, n}, device);
  cuda::detail::launch_each(op, device, cuda_norm, {dtype_of<T>}, "norm_parameters", parts * n, rows, n, parts,
                            rms ? 1 : 0, partial.impl()->data(), dy.data(), x.data(), moments.data());
  NoGradGuard guard;
  auto sums = cast<T>(reduce<SumReducer<C>>(op, partial, 1, false));  // (2, n)
  return {dx, select(sums, 0, 0), select(sums, 0, 1)};
}

/// Sums over the channels of x (images, channels, ...): (channels,), or (2, channels) with dy.
template <Floating T>
Tensor<Compute<T>> channel_sums_on_card(const char* op, int mode, const Tensor<T>& x, const Tensor<T>& dy,
                                        const Tensor<Compute<T>>& mean, const Tensor<Compute<T>>& inverse) {
  using C = Compute<T>;
  auto images = x.size(0), channels = x.size(1);
  auto plane = x.numel() / std::max<int64_t>(images * channels, 1);
  auto parts =
      std::clamp<int64_t>(images * plane / 4096, 1, std::max<int64_t>(1, 1024 / std::max<int64_t>(channels, 1)));
  auto partial = Tensor<C>::empty({mode == 2 ? 2 : 1, parts, channels}, x.device());
  cuda::detail::launch_blocks(op, x.device(), cuda_norm, {dtype_of<T>}, "block_channel_sums", channels * parts, images,
                              channels, plane, parts, mode, partial.impl()->data(), x.data(), data_or_null(dy),
                              data_or_null(mean), data_or_null(inverse));
  auto sums = reduce<SumReducer<C>>(op, partial, 1, false);
  return mode == 2 ? sums : reshape(sums, {channels});
}

}  // namespace gradus::detail::inline GRADUS_BUILD
