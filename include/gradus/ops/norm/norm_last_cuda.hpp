// Kernels of batch norm on a GPU for images that lie channels last: a matrix (pixels, channels). A thread has 16 bytes
// of channels that lie side by side, and goes down the pixels.
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_last_text = R"cuda(
// What a block has of x (rows, channels): the rows of a part and up to 32 packs of W channels. Its threads stand `down`
// below each other, each in a line of its own.
struct Strip {
  int64 part, from, to, first;
  int width, down, line, lane;
  bool inside;
};
GRADUS_DEVICE int packs_across(int64 packs) {
  int across = 1;
  while (across < packs && across < 32) across *= 2;
  return across;
}
template <int W>
GRADUS_DEVICE int64 strips_of(int64 channels) {
  const int64 packs = channels / W;
  const int across = packs_across(packs);
  return (packs + across - 1) / across;
}
template <int W>
GRADUS_DEVICE Strip strip_of(int64 rows, int64 channels, int64 parts, int64 strips, int64 task) {
  const int across = packs_across(channels / W);
  Strip s;
  s.part = task / strips;
  s.from = rows * s.part / parts;
  s.to = rows * (s.part + 1) / parts;
  s.width = across * W;
  s.first = (task - s.part * strips) * s.width;
  s.down = blockDim.x / across;
  s.line = threadIdx.x / across;
  s.lane = (threadIdx.x - s.line * across) * W;
  s.inside = s.first + s.lane < channels;
  return s;
}

// Number of values, mean and squared distances from it of each channel: partial (3, parts, channels). A thread sums
// distances from the first value that it sees, so that one look at x is enough.
template <int W>
GRADUS_DEVICE void channel_moments_last(int64 rows, int64 channels, int64 parts, C* partial, const T* x) {
  __shared__ C means[256 * W], squares[256 * W];
  const int64 strips = strips_of<W>(channels);
  for (int64 task = blockIdx.x; task < parts * strips; task += gridDim.x) {
    const Strip s = strip_of<W>(rows, channels, parts, strips, task);
    C shift[W], sum[W], square[W];
#pragma unroll
    for (int k = 0; k < W; ++k) shift[k] = sum[k] = square[k] = C(0);
    int64 count = 0;
    if (s.inside && s.from + s.line < s.to) {
      const T* at = x + s.first + s.lane;
      const Pack<C, W> start = widen_pack(load_pack<W>(at + (s.from + s.line) * channels));
#pragma unroll
      for (int k = 0; k < W; ++k) shift[k] = start.at[k];
#pragma unroll 4
      for (int64 row = s.from + s.line; row < s.to; row += s.down) {
        const Pack<C, W> values = widen_pack(load_pack<W>(at + row * channels));
#pragma unroll
        for (int k = 0; k < W; ++k) {
          const C away = values.at[k] - shift[k];
          sum[k] += away;
          square[k] += away * away;
        }
      }
      count = (s.to - s.from - s.line + s.down - 1) / s.down;
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const C away = count > 0 ? sum[k] / C(count) : C(0), rest = square[k] - sum[k] * away;
      means[threadIdx.x * W + k] = shift[k] + away;
      squares[threadIdx.x * W + k] = rest < C(0) ? C(0) : rest;
    }
    __syncthreads();
    for (int c = threadIdx.x; c < s.width && s.first + c < channels; c += blockDim.x) {
      const int64 all = s.to - s.from;
      C total = 0, spread = 0;
      for (int line = 0; line < s.down && line < all; ++line)
        total += C((all - line + s.down - 1) / s.down) * means[line * s.width + c];
      const C mean = all > 0 ? total / C(all) : C(0);
      for (int line = 0; line < s.down && line < all; ++line) {
        const C away = means[line * s.width + c] - mean;
        spread += squares[line * s.width + c] + C((all - line + s.down - 1) / s.down) * away * away;
      }
      partial[s.part * channels + s.first + c] = C(all);
      partial[(parts + s.part) * channels + s.first + c] = mean;
      partial[(2 * parts + s.part) * channels + s.first + c] = spread;
    }
    __syncthreads();
  }
}
// With more than three blocks a multiprocessor in mind, the compiler spills registers.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 3)
block_channel_moments_last(int64 rows, int64 channels, int64 parts, C* partial, const T* x) {
  if (in_packs(channels, x)) channel_moments_last<16 / sizeof(T)>(rows, channels, parts, partial, x);
  else channel_moments_last<1>(rows, channels, parts, partial, x);
}

// Sums of what of dy + more passes the rectifier and of that times normal x: partial (2, parts, channels). It is kept
// where kept is not 0; result, if not 0, tells in x's place what the rectifier cut.
template <int W>
GRADUS_DEVICE void channel_slopes_last(int64 rows, int64 channels, int64 parts, C low, C high, C* partial, const T* x,
                                       const T* dy, const T* more, const T* result, T* kept, const C* mean,
                                       const C* inverse, const T* weight, const T* bias) {
  __shared__ C plain[256 * W], scaled[256 * W];
  const int64 strips = strips_of<W>(channels);
  for (int64 task = blockIdx.x; task < parts * strips; task += gridDim.x) {
    const Strip s = strip_of<W>(rows, channels, parts, strips, task);
    C center[W], scale[W], shift[W], a[W], b[W];
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const int64 c = s.first + s.lane + k;
      center[k] = s.inside ? mean[c] : C(0);
      scale[k] = s.inside ? (weight != 0 ? widen(weight[c]) : C(1)) * inverse[c] : C(0);
      shift[k] = s.inside && bias != 0 ? widen(bias[c]) : C(0);
      a[k] = b[k] = C(0);
    }
    if (s.inside) {
      const int64 at = s.first + s.lane;
      struct Read {
        Words<T, W> x, dy, more, result;
      };
      in_bunches<2>(
          s.from + s.line, s.to, s.down,
          [&](int64 row) {
            const int64 place = row * channels + at;
            Read read;
            read.x = load_pack<W>(x + place);
            read.dy = load_pack<W>(dy + place);
            if (more != 0) read.more = load_pack<W>(more + place);
            if (result != 0) read.result = load_pack<W>(result + place);
            return read;
          },
          [&](int64 row, const Read& read) {
            const Pack<C, W> v = widen_pack(read.x), d = widen_pack(read.dy);
            const Pack<C, W> m = widen_pack(read.more), r = widen_pack(read.result);
            Pack<C, W> g;
#pragma unroll
            for (int k = 0; k < W; ++k) {
              const C away = v.at[k] - center[k], arrived = more != 0 ? d.at[k] + m.at[k] : d.at[k];
              g.at[k] = passed(arrived, result != 0 ? r.at[k] : fma(away, scale[k], shift[k]), low, high);
              a[k] += g.at[k];
              b[k] += g.at[k] * away;
            }
            if (kept != 0) store_pack(kept + row * channels + at, narrow_pack<T>(g));
          });
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
      plain[threadIdx.x * W + k] = a[k];
      scaled[threadIdx.x * W + k] = b[k];
    }
    __syncthreads();
    for (int c = threadIdx.x; c < s.width && s.first + c < channels; c += blockDim.x) {
      C first = 0, second = 0;
      for (int line = 0; line < s.down; ++line) {
        first += plain[line * s.width + c];
        second += scaled[line * s.width + c];
      }
      partial[s.part * channels + s.first + c] = first;
      partial[(parts + s.part) * channels + s.first + c] = second * inverse[s.first + c];
    }
    __syncthreads();
  }
}
// With more than two blocks a multiprocessor in mind, the compiler spills registers.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_channel_slopes_last(int64 rows, int64 channels, int64 parts, C low, C high, C* partial, const T* x, const T* dy,
                          const T* more, const T* result, T* kept, const C* mean, const C* inverse, const T* weight,
                          const T* bias) {
  if (in_packs(channels, x, dy, more, result) && in_packs(0, static_cast<const T*>(kept)))
    channel_slopes_last<16 / sizeof(T)>(rows, channels, parts, low, high, partial, x, dy, more, result, kept, mean,
                                        inverse, weight, bias);
  else
    channel_slopes_last<1>(rows, channels, parts, low, high, partial, x, dy, more, result, kept, mean, inverse, weight,
                           bias);
}

// A thread has W channels of every `step`-th row, and keeps what it knows of them in registers.
template <int W>
GRADUS_DEVICE void normalize_last(int64 rows, int64 channels, int64 step, C low, C high, T* y, const T* x,
                                  const T* residual, const C* mean, const C* inverse, const T* weight, const T* bias) {
  const int64 packs = channels / W;
  GRADUS_EACH(task, packs * step) {
    const int64 line = task / packs, at = (task - line * packs) * W;
    C center[W], scale[W], shift[W];
#pragma unroll
    for (int k = 0; k < W; ++k) {
      center[k] = mean[at + k];
      scale[k] = (weight != 0 ? widen(weight[at + k]) : C(1)) * inverse[at + k];
      shift[k] = bias != 0 ? widen(bias[at + k]) : C(0);
    }
    struct Read {
      Words<T, W> x, residual;
    };
    in_bunches<2>(
        line, rows, step,
        [&](int64 row) {
          Read read;
          read.x = load_pack<W>(x + row * channels + at);
          if (residual != 0) read.residual = load_pack<W>(residual + row * channels + at);
          return read;
        },
        [&](int64 row, const Read& read) {
          Pack<C, W> z = widen_pack(read.x);
          const Pack<C, W> more = widen_pack(read.residual);
#pragma unroll
          for (int k = 0; k < W; ++k) {
            z.at[k] = fma(z.at[k] - center[k], scale[k], shift[k]);
            if (residual != 0) z.at[k] += more.at[k];
            z.at[k] = rectified(z.at[k], low, high);
          }
          store_pack(y + row * channels + at, narrow_pack<T>(z));
        });
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL channel_norm_last(int64 rows, int64 channels, int64 step, C low, C high, T* y, const T* x,
                                const T* residual, const C* mean, const C* inverse, const T* weight, const T* bias) {
  if (in_packs(channels, x, static_cast<const T*>(y), residual))
    normalize_last<16 / sizeof(T)>(rows, channels, step, low, high, y, x, residual, mean, inverse, weight, bias);
  else normalize_last<1>(rows, channels, step, low, high, y, x, residual, mean, inverse, weight, bias);
}

// share: 1 / the number of elements of a channel.
template <int W>
GRADUS_DEVICE void channel_gradients_last(int64 rows, int64 channels, int64 step, C low, C high, C share, T* dx,
                                          const T* dy, const T* x, const C* mean, const C* inverse, const T* weight,
                                          const T* bias, const C* sums) {
  const int64 packs = channels / W;
  GRADUS_EACH(task, packs * step) {
    const int64 line = task / packs, at = (task - line * packs) * W;
    C center[W], scale[W], shift[W], slope[W], rest[W];
#pragma unroll
    for (int k = 0; k < W; ++k) {
      center[k] = mean[at + k];
      scale[k] = (weight != 0 ? widen(weight[at + k]) : C(1)) * inverse[at + k];
      shift[k] = bias != 0 ? widen(bias[at + k]) : C(0);
      slope[k] = -scale[k] * inverse[at + k] * (sums[channels + at + k] * share);
      rest[k] = -scale[k] * (sums[at + k] * share);
    }
    struct Read {
      Words<T, W> x, dy;
    };
    in_bunches<2>(
        line, rows, step,
        [&](int64 row) {
          return Read{load_pack<W>(x + row * channels + at), load_pack<W>(dy + row * channels + at)};
        },
        [&](int64 row, const Read& read) {
          const Pack<C, W> v = widen_pack(read.x), d = widen_pack(read.dy);
          Pack<C, W> result;
#pragma unroll
          for (int k = 0; k < W; ++k) {
            const C away = v.at[k] - center[k];
            const C g = passed(d.at[k], fma(away, scale[k], shift[k]), low, high);
            result.at[k] = scale[k] * g + (slope[k] * away + rest[k]);
          }
          store_pack(dx + row * channels + at, narrow_pack<T>(result));
        });
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL channel_norm_gradient_last(int64 rows, int64 channels, int64 step, C low, C high, C share, T* dx,
                                         const T* dy, const T* x, const C* mean, const C* inverse, const T* weight,
                                         const T* bias, const C* sums) {
  if (in_packs(channels, x, static_cast<const T*>(dx), dy))
    channel_gradients_last<16 / sizeof(T)>(rows, channels, step, low, high, share, dx, dy, x, mean, inverse, weight,
                                           bias, sums);
  else channel_gradients_last<1>(rows, channels, step, low, high, share, dx, dy, x, mean, inverse, weight, bias, sums);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm_last{"norm_last", cuda_norm_last_text};

/// How the channels-last images (rows, channels), of elements of so many bytes, are gone through, whatever the card:
/// the same bits on each.
struct LastParts {
  int64_t rows, channels, packs, parts, strips, step;

  LastParts(int64_t pixels, int64_t c, int bytes)
      : rows(pixels),
        channels(c),
        packs(std::max<int64_t>(1, c * bytes / 16)),
        parts(std::clamp<int64_t>(pixels * std::min<int64_t>(packs, 32) / 4096, 1, 1024)),  // 16 packs a thread
        strips((packs + 31) / 32),
        step(std::clamp<int64_t>((int64_t{1} << 18) / packs, 1, std::max<int64_t>(pixels, 1))) {}
};

}  // namespace gradus::detail::inline GRADUS_BUILD
