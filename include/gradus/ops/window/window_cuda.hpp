// Poolings and the unfolding of images for convolutions on a GPU.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/window/pool_shape.hpp"
#include "gradus/tensor/cuda_loop.hpp"
#include "gradus/tensor/storage.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Sizes of a window operator, as in the text below; the same bytes there. Images lie as (images, h, w, channels):
/// planes of channels are images of one channel.
struct CardWindows {
  int64_t images, channels, h, w, oh, ow, kh, kw;
  int64_t stride[2], padding[2], dilation[2];
  CudaDivisor by_channels{channels}, by_h{h}, by_w{w}, by_oh{oh}, by_ow{ow};
};
inline CardWindows card_windows(const PoolShape& s) {
  return {s.channels_last ? s.n : s.n * s.c,
          s.channels_last ? s.c : 1,
          s.h,
          s.w,
          s.oh,
          s.ow,
          s.kh,
          s.kw,
          {s.stride[0], s.stride[1]},
          {s.padding[0], s.padding[1]},
          {s.dilation[0], s.dilation[1]}};
}

inline constexpr std::string_view cuda_windows_text = R"cuda(
struct Windows {
  int64 images, channels, h, w, oh, ow, kh, kw;
  int64 stride[2], padding[2], dilation[2];
  Divisor by_channels, by_h, by_w, by_oh, by_ow;
};
GRADUS_DEVICE int64 least(int64 a, int64 b) { return a < b ? a : b; }
GRADUS_DEVICE int64 most(int64 a, int64 b) { return a > b ? a : b; }

// Element i of images (images, h, w, channels). `start` is its channel's place at the image's first pixel.
struct Pixel {
  int64 row, column, image, channel;
  __device__ int64 start(int64 h, int64 w, int64 channels) const { return image * h * w * channels + channel; }
};
GRADUS_DEVICE Pixel pixel_of(int64 i, const Divisor& h, const Divisor& w, const Divisor& channels) {
  Pixel p;
  const int64 pixel = channels.of(i), line = w.of(pixel);
  p.channel = i - pixel * channels.size;
  p.column = pixel - line * w.size;
  p.image = h.of(line);
  p.row = line - p.image * h.size;
  return p;
}

// The windows from `first` to `last` of one axis that hold a place.
GRADUS_DEVICE void windows_of(int64 place, int64 size, int64 kernel, int64 stride, int64 padding, int64 dilation,
                              int64& first, int64& last) {
  const int64 reach = dilation * (kernel - 1), from = place + padding - reach;
  first = from <= 0 ? 0 : (from + stride - 1) / stride;
  last = least((place + padding) / stride, size - 1);
}
)cuda";

inline constexpr std::string_view cuda_window_text = R"cuda(
// Rows and columns [r0, r1) x [c0, c1) of a window within the image, and what its sum is divided by.
struct Mean {
  int64 r0, r1, c0, c1, divisor;
};
GRADUS_DEVICE Mean mean_of(const Windows& s, int64 row, int64 column, int include_padding) {
  const int64 top = row * s.stride[0] - s.padding[0], bottom = least(top + s.kh, s.h + s.padding[0]);
  const int64 left = column * s.stride[1] - s.padding[1], right = least(left + s.kw, s.w + s.padding[1]);
  Mean m;
  m.r0 = most(top, 0), m.r1 = least(bottom, s.h), m.c0 = most(left, 0), m.c1 = least(right, s.w);
  m.divisor = include_padding ? (bottom - top) * (right - left) : (m.r1 - m.r0) * (m.c1 - m.c0);
  return m;
}
GRADUS_KERNEL avg_pool(const __grid_constant__ Windows s, int include_padding, T* y, const T* x) {
  GRADUS_EACH(i, s.images * s.oh * s.ow * s.channels) {
    const Pixel p = pixel_of(i, s.by_oh, s.by_ow, s.by_channels);
    const Mean m = mean_of(s, p.row, p.column, include_padding);
    const T* at = x + p.start(s.h, s.w, s.channels);
    C total = 0;
    for (int64 r = m.r0; r < m.r1; ++r)
      for (int64 c = m.c0; c < m.c1; ++c) total += widen(at[(r * s.w + c) * s.channels]);
    y[i] = narrow<T>(total / C(m.divisor));
  }
}
GRADUS_KERNEL avg_pool_gradient(const __grid_constant__ Windows s, int include_padding, T* x, const T* y) {
  GRADUS_EACH(i, s.images * s.h * s.w * s.channels) {
    const Pixel p = pixel_of(i, s.by_h, s.by_w, s.by_channels);
    const T* at = y + p.start(s.oh, s.ow, s.channels);
    int64 r0, r1, c0, c1;
    windows_of(p.row, s.oh, s.kh, s.stride[0], s.padding[0], 1, r0, r1);
    windows_of(p.column, s.ow, s.kw, s.stride[1], s.padding[1], 1, c0, c1);
    C total = 0;
    for (int64 row = r0; row <= r1; ++row) {
      for (int64 column = c0; column <= c1; ++column) {
        const Mean m = mean_of(s, row, column, include_padding);
        if (p.row < m.r0 || p.row >= m.r1 || p.column < m.c0 || p.column >= m.c1) continue;
        total += widen(at[(row * s.ow + column) * s.channels]) / C(m.divisor);
      }
    }
    x[i] = narrow<T>(total);
  }
}

// Every window of every plane becomes a column: x (images, h, w), of one channel each, -> (images, kh, kw, oh, ow).
GRADUS_KERNEL unfold(const __grid_constant__ Windows s, T* y, const T* x) {
  GRADUS_EACH(i, s.images * s.kh * s.kw * s.oh * s.ow) {
    const int64 column = i % s.ow, row = i / s.ow % s.oh, rest = i / (s.ow * s.oh);
    const int64 l = rest % s.kw, k = rest / s.kw % s.kh, plane = rest / (s.kw * s.kh);
    const int64 r = row * s.stride[0] - s.padding[0] + k * s.dilation[0];
    const int64 c = column * s.stride[1] - s.padding[1] + l * s.dilation[1];
    y[i] = r < 0 || r >= s.h || c < 0 || c >= s.w ? narrow<T>(C(0)) : x[(plane * s.h + r) * s.w + c];
  }
}
// The transpose: each pixel adds up the windows that hold it.
GRADUS_KERNEL fold(const __grid_constant__ Windows s, T* x, const T* y) {
  GRADUS_EACH(i, s.images * s.h * s.w) {
    const int64 c = i % s.w, r = i / s.w % s.h, plane = i / (s.w * s.h);
    C total = 0;
    for (int64 k = 0; k < s.kh; ++k) {
      const int64 row_at = r + s.padding[0] - k * s.dilation[0], row = row_at / s.stride[0];
      if (row_at < 0 || row * s.stride[0] != row_at || row >= s.oh) continue;
      for (int64 l = 0; l < s.kw; ++l) {
        const int64 column_at = c + s.padding[1] - l * s.dilation[1], column = column_at / s.stride[1];
        if (column_at < 0 || column * s.stride[1] != column_at || column >= s.ow) continue;
        total += widen(y[(((plane * s.kh + k) * s.kw + l) * s.oh + row) * s.ow + column]);
      }
    }
    x[i] = narrow<T>(total);
  }
}
// Adds a bias a channel, which may be null, and rectifies, W elements at once. A channel's pixels lie side by side, or
// are single.
template <int W>
GRADUS_DEVICE void finish_packs(int64 count, const Divisor& pixels, const Divisor& channels, T* y, const T* bias, C low,
                                C high) {
  GRADUS_EACH(i, count / W) {
    Pack<C, W> pack = widen_pack(load_pack<W>(y + i * W));
    const int64 run = pixels.of(i * W), channel = run - channels.of(run) * channels.size;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      if (bias != nullptr) pack.at[k] += widen(bias[pixels.size == 1 ? channel + k : channel]);
      pack.at[k] = rectified(pack.at[k], low, high);
    }
    store_pack(y + i * W, narrow_pack<T>(pack));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL finish_images(int64 count, const __grid_constant__ Divisor pixels,
                            const __grid_constant__ Divisor channels, T* y, const T* bias, C low, C high) {
  constexpr int W = 16 / sizeof(T);
  const int64 run = bias == nullptr ? count : pixels.size > 1 ? pixels.size : channels.size;
  if (run % W == 0 && reinterpret_cast<unsigned long long>(y) % 16 == 0)
    finish_packs<W>(count, pixels, channels, y, bias, low, high);
  else finish_packs<1>(count, pixels, channels, y, bias, low, high);
}
)cuda";
inline const cuda::detail::KernelText& cuda_window() {
  static const auto text = join(cuda_windows_text, cuda_window_text);
  static const cuda::detail::KernelText family{"window", text};
  return family;
}

/// Runs a kernel of the family with a thread for each of `count`.
template <class... Arguments>
void launch_window(const char* op, const TensorImpl& y, const char* entry, int64_t count,
                   const Arguments&... arguments) {
  auto device = y.storage->device();
  cuda::detail::launch_each(op, device, cuda_window(), {y.dtype}, entry, count, arguments...);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
