// Max pooling on a GPU.
#pragma once

#include "gradus/ops/window/window_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_max_pool_text = R"cuda(
// Where channels lie side by side, a thread has W of them: 16 bytes.
const int wide = 16 / static_cast<int>(sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U));

// The largest of each window, and its number there, row by row: of several the first, of NaN the last.
template <int W>
GRADUS_DEVICE void largest_of_windows(const Windows& s, T* y, U* from, const T* x) {
  GRADUS_EACH(task, s.images * s.oh * s.ow * s.channels / W) {
    const Pixel p = pixel_of(task * W, s.by_oh, s.by_ow, s.by_channels);
    const T* at = x + p.start(s.h, s.w, s.channels);
    Pack<C, W> best;
    Pack<int, W> numbers;
#pragma unroll
    for (int e = 0; e < W; ++e) best.at[e] = -from_infinity(C(0)), numbers.at[e] = -1;
    for (int k = 0; k < s.kh; ++k) {
      const int64 r = p.row * s.stride[0] - s.padding[0] + k * s.dilation[0];
      if (r < 0 || r >= s.h) continue;
      for (int l = 0; l < s.kw; ++l) {
        const int64 c = p.column * s.stride[1] - s.padding[1] + l * s.dilation[1];
        if (c < 0 || c >= s.w) continue;
        const Pack<C, W> v = widen_pack(load_pack<W>(at + (r * s.w + c) * s.channels));
        const int number = k * static_cast<int>(s.kw) + l;
#pragma unroll
        for (int e = 0; e < W; ++e) {
          if (numbers.at[e] < 0 || v.at[e] > best.at[e] || v.at[e] != v.at[e])
            best.at[e] = v.at[e], numbers.at[e] = number;
        }
      }
    }
    store_pack(y + task * W, narrow_pack<T>(best));
    store_pack(from + task * W, narrow_pack<U>(numbers));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL max_pool(const __grid_constant__ Windows s, T* y, U* from, const T* x) {
  if (in_packs(s.channels, x, static_cast<const T*>(y))) largest_of_windows<wide>(s, y, from, x);
  else largest_of_windows<1>(s, y, from, x);
}

// What the windows chose of x. With more than four blocks a multiprocessor in mind, the compiler spills registers.
extern "C" __global__ void __launch_bounds__(256, 4)
pool_take(const __grid_constant__ Windows s, T* y, const T* x, const U* from) {
  GRADUS_EACH(i, s.images * s.oh * s.ow * s.channels) {
    const Pixel p = pixel_of(i, s.by_oh, s.by_ow, s.by_channels);
    const int number = from[i], k = number / static_cast<int>(s.kw), l = number - k * static_cast<int>(s.kw);
    const int64 r = p.row * s.stride[0] - s.padding[0] + k * s.dilation[0];
    const int64 c = p.column * s.stride[1] - s.padding[1] + l * s.dilation[1];
    y[i] = x[p.start(s.h, s.w, s.channels) + (r * s.w + c) * s.channels];
  }
}

// The sum of y over the windows that chose a pixel, gathered window by window.
template <int W>
GRADUS_DEVICE void sums_of_chosen(const Windows& s, T* x, const T* y, const U* from) {
  GRADUS_EACH(task, s.images * s.h * s.w * s.channels / W) {
    const Pixel p = pixel_of(task * W, s.by_h, s.by_w, s.by_channels);
    const int64 start = p.start(s.oh, s.ow, s.channels);
    int64 r0, r1, c0, c1;
    windows_of(p.row, s.oh, s.kh, s.stride[0], s.padding[0], s.dilation[0], r0, r1);
    windows_of(p.column, s.ow, s.kw, s.stride[1], s.padding[1], s.dilation[1], c0, c1);
    Pack<C, W> total;
#pragma unroll
    for (int e = 0; e < W; ++e) total.at[e] = C(0);
    for (int64 row = r0; row <= r1; ++row) {
      const int down = static_cast<int>(p.row + s.padding[0] - row * s.stride[0]);
      const int k = down / static_cast<int>(s.dilation[0]);
      if (k * static_cast<int>(s.dilation[0]) != down) continue;  // between the places of a dilated window
      for (int64 column = c0; column <= c1; ++column) {
        const int across = static_cast<int>(p.column + s.padding[1] - column * s.stride[1]);
        const int l = across / static_cast<int>(s.dilation[1]), number = k * static_cast<int>(s.kw) + l;
        if (l * static_cast<int>(s.dilation[1]) != across) continue;
        const int64 window = start + (row * s.ow + column) * s.channels;
        const auto chosen = widen_pack(load_pack<W>(from + window));
        const Pack<C, W> values = widen_pack(load_pack<W>(y + window));
#pragma unroll
        for (int e = 0; e < W; ++e) total.at[e] += chosen.at[e] == number ? values.at[e] : C(0);
      }
    }
    store_pack(x + task * W, narrow_pack<T>(total));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL pool_put(const __grid_constant__ Windows s, T* x, const T* y, const U* from) {
  if (in_packs(s.channels, y, static_cast<const T*>(x))) sums_of_chosen<wide>(s, x, y, from);
  else sums_of_chosen<1>(s, x, y, from);
}
)cuda";
inline const cuda::detail::KernelText& cuda_max_pool() {
  static const auto text = join(cuda_windows_text, cuda_max_pool_text);
  static const cuda::detail::KernelText family{"max_pool", text};
  return family;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
