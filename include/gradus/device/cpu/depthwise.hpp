// Convolution of each channel with a kernel of its own (groups = channels): a register of channels at a time, whose
// planes are brought to channels last and back, so that any stride, dilation and size of image runs at full width.
#pragma once

#include <limits>

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/channels_last.hpp"
#include "gradus/device/cpu/conv_shape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Whether every channel has its own kernel, one that a list of taps can hold.
inline bool is_depthwise(const ConvShape& s) {
  return s.groups > 1 && s.groups == s.c_in && s.c_out == s.c_in && s.kh * s.kw <= 81;
}

/// One weight of a kernel, for a register of channels, and the pixel that it multiplies for the first result.
template <class C>
struct Tap {
  const C *pixel, *weight;
};

/// to[i * to_step] = sum over taps of weight * pixel[i * step], for i < count; everything is a register of channels.
template <class C, int Pixels>
GRADUS_INLINE void sum_taps_of(const Tap<C>* taps, int count, int64_t first, int64_t step, C* to, int64_t to_step) {
  using namespace Eigen::internal;
  using P = typename GemmTile<C>::P;
  P sums[Pixels];
  GRADUS_UNROLL
  for (auto& sum : sums) sum = pset1<P>(C(0));
  for (int t = 0; t < count; ++t) {
    auto weight = ploadu<P>(taps[t].weight);
    auto* from = taps[t].pixel + first * step;
    GRADUS_UNROLL
    for (int i = 0; i < Pixels; ++i) sums[i] = pmadd(weight, ploadu<P>(from + i * step), sums[i]);
  }
  GRADUS_UNROLL
  for (int i = 0; i < Pixels; ++i) pstoreu(to + (first + i) * to_step, sums[i]);
}
template <class C>
void sum_taps(const Tap<C>* taps, int tap_count, int64_t count, int64_t step, C* to, int64_t to_step) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) sum_taps_of<C, 8>(taps, tap_count, i, step, to, to_step);
  for (; i + 2 <= count; i += 2) sum_taps_of<C, 2>(taps, tap_count, i, step, to, to_step);
  if (i < count) sum_taps_of<C, 1>(taps, tap_count, i, step, to, to_step);
}

/// Runs body(image, first channel, channels, weights, source, results) for all images and registers of channels;
/// weights are (kh kw, register), source and results room for as many registers.
template <class C, class T, class Body>
void for_channel_registers(const ConvShape& s, const T* w, int64_t sources, int64_t results, Body&& body) {
  constexpr int64_t lanes = GemmTile<C>::lanes;
  auto registers = (s.c_in + lanes - 1) / lanes, taps = s.kh * s.kw;
  auto work = lanes * std::max(s.h * s.w, s.oh() * s.ow()) * 4;
  parallel_for(registers * s.n, std::max<int64_t>(1, 65536 / work), [&](int64_t first, int64_t last) {
    Scratch<C> weights(taps * lanes), room((sources + results) * lanes);
    for (auto task = first; task < last; ++task) {
      auto c = task / s.n * lanes, count = std::min(lanes, s.c_in - c);
      if (task == first || task % s.n == 0) {
        std::fill_n(weights.data(), taps * lanes, C(0));
        for (int64_t i = 0; i < count; ++i) {
          for (int64_t k = 0; k < taps; ++k) weights[k * lanes + i] = static_cast<C>(w[(c + i) * taps + k]);
        }
      }
      body(task % s.n, c, count, weights.data(), room.data(), room.data() + sources * lanes);
    }
  });
}

/// y = x * w + bias (which may be null), rectified.
template <class C, class T>
void depthwise_forward(const ConvShape& s, const T* x, const T* w, const T* bias, Rectifier rectifier, T* y) {
  constexpr int64_t lanes = GemmTile<C>::lanes;
  auto oh = s.oh(), ow = s.ow();
  ImagePart part{-s.padding[0], s.h + 2 * s.padding[0], -s.padding[1], s.w + 2 * s.padding[1]};
  auto padded = part.rows * part.columns;
  for_channel_registers<C>(
      s, w, padded, oh * ow, [&](int64_t image, int64_t c, int64_t count, const C* weights, C* z, C* results) {
        to_channels_last(x + (image * s.c_in + c) * s.h * s.w, count, s.h, s.w, part, z);
        Tap<C> taps[81];
        for (int64_t row = 0; row < oh; ++row) {
          int used = 0;
          for (int64_t k = 0; k < s.kh * s.kw; ++k) {
            auto top = row * s.stride[0] + k / s.kw * s.dilation[0], left = k % s.kw * s.dilation[1];
            taps[used++] = {z + (top * part.columns + left) * lanes, weights + k * lanes};
          }
          sum_taps(taps, used, ow, s.stride[1] * lanes, results + row * ow * lanes, lanes);
        }
        from_channels_last(results, oh * ow, count, bias != nullptr ? bias + c : nullptr, rectifier,
                           y + (image * s.c_in + c) * oh * ow, oh * ow);
      });
}

/// Along one direction, where in dy the places of dx find what tap `k` multiplies: place + padding - k dilation, over
/// the stride, or nothing where that is no whole number or outside of [first, last).
class GradientPlaces {
 public:
  static constexpr int64_t nothing = std::numeric_limits<int64_t>::min();

  GradientPlaces(int64_t places, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, int64_t first,
                 int64_t last)
      : kernel_(kernel), table_(places * kernel) {
    for (int64_t i = 0; i < places * kernel; ++i) {
      auto at = i / kernel + padding - i % kernel * dilation, quotient = at / stride;
      auto outside = at % stride != 0 || quotient < first || quotient >= last;
      table_[i] = outside ? nothing : quotient;
    }
  }
  int64_t operator()(int64_t place, int64_t k) const { return table_[place * kernel_ + k]; }

 private:
  int64_t kernel_;
  Scratch<int64_t> table_;
};

/// dx from dy: pixels whose places differ by multiples of the stride meet the same weights, and are summed together.
template <class C, class T>
void depthwise_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  constexpr int64_t lanes = GemmTile<C>::lanes;
  auto oh = s.oh(), ow = s.ow();
  // Columns of dy that some pixel asks for, and all there are; more to the left, for a quotient is cut towards zero.
  auto left = std::min<int64_t>(0, (s.padding[1] - (s.kw - 1) * s.dilation[1]) / s.stride[1] - 1);
  auto right = std::max(ow, (s.w - 1 + s.padding[1]) / s.stride[1] + 1);
  ImagePart part{0, oh, left, right - left};
  GradientPlaces in_rows(s.h, s.kh, s.stride[0], s.padding[0], s.dilation[0], 0, oh);
  GradientPlaces in_columns(std::min(s.stride[1], s.w), s.kw, s.stride[1], s.padding[1], s.dilation[1], left, right);
  auto padded = part.rows * part.columns;
  for_channel_registers<C>(
      s, w, padded, s.h * s.w, [&](int64_t image, int64_t c, int64_t count, const C* weights, C* z, C* results) {
        to_channels_last(dy + (image * s.c_in + c) * oh * ow, count, oh, ow, part, z);
        Tap<C> taps[81];
        for (int64_t row = 0; row < s.h; ++row) {
          for (int64_t column = 0; column < std::min(s.stride[1], s.w); ++column) {
            int used = 0;
            for (int64_t a = 0; a < s.kh; ++a) {
              auto y = in_rows(row, a);
              if (y == GradientPlaces::nothing) continue;
              for (int64_t b = 0; b < s.kw; ++b) {
                auto x = in_columns(column, b);
                if (x == GradientPlaces::nothing) continue;
                taps[used++] = {z + (y * part.columns + x - left) * lanes, weights + (a * s.kw + b) * lanes};
              }
            }
            sum_taps(taps, used, (s.w - column + s.stride[1] - 1) / s.stride[1], lanes,
                     results + (row * s.w + column) * lanes, s.stride[1] * lanes);
          }
        }
        from_channels_last<C, T>(results, s.h * s.w, count, nullptr, Rectifier::none,
                                 dx + (image * s.c_in + c) * s.h * s.w, s.h * s.w);
      });
}

/// sums[k] += sum over (rows, columns) of dy * x from tap k on, for Taps taps; registers of channels.
template <class C, int Taps>
void add_tap_products(const C* dy, int64_t rows, int64_t columns, const C* x, const int64_t* taps, int64_t row_step,
                      int64_t column_step, C* sums) {
  using namespace Eigen::internal;
  using P = typename GemmTile<C>::P;
  constexpr int lanes = GemmTile<C>::lanes;
  P totals[Taps];
  const C* from[Taps];
  GRADUS_UNROLL
  for (int k = 0; k < Taps; ++k) {
    totals[k] = ploadu<P>(sums + k * lanes);
    from[k] = x + taps[k];
  }
  for (int64_t i = 0; i < rows; ++i) {
    auto at = i * row_step;
    for (int64_t j = 0; j < columns; ++j, at += column_step, dy += lanes) {
      auto gradient = ploadu<P>(dy);
      GRADUS_UNROLL
      for (int k = 0; k < Taps; ++k) totals[k] = pmadd(gradient, ploadu<P>(from[k] + at), totals[k]);
    }
  }
  GRADUS_UNROLL
  for (int k = 0; k < Taps; ++k) pstoreu(sums + k * lanes, totals[k]);
}

/// dw = sum over images and pixels of dy times window, in parts where there are few channels.
template <class C, class T>
void depthwise_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  constexpr int64_t lanes = GemmTile<C>::lanes;
  auto oh = s.oh(), ow = s.ow(), taps = s.kh * s.kw, registers = (s.c_in + lanes - 1) / lanes;
  ImagePart part{-s.padding[0], s.h + 2 * s.padding[0], -s.padding[1], s.w + 2 * s.padding[1]};
  auto parts = std::clamp<int64_t>(32 / registers, 1, std::max<int64_t>(s.n, 1));
  Scratch<C> sums(parts * registers * taps * lanes);
  parallel_chunks(parts * registers, [&](int64_t chunk) {
    auto c = chunk / parts * lanes, count = std::min(lanes, s.c_in - c), index = chunk % parts;
    Scratch<C> z(part.rows * part.columns * lanes), gradients(oh * ow * lanes);
    auto* own = sums.data() + chunk * taps * lanes;
    std::fill_n(own, taps * lanes, C(0));
    int64_t offsets[81];
    for (int64_t k = 0; k < taps; ++k)
      offsets[k] = (k / s.kw * s.dilation[0] * part.columns + k % s.kw * s.dilation[1]) * lanes;
    auto row_step = s.stride[0] * part.columns * lanes, column_step = s.stride[1] * lanes;
    for (auto image = s.n * index / parts; image < s.n * (index + 1) / parts; ++image) {
      to_channels_last(x + (image * s.c_in + c) * s.h * s.w, count, s.h, s.w, part, z.data());
      to_channels_last(dy + (image * s.c_in + c) * oh * ow, count, oh, ow, {0, oh, 0, ow}, gradients.data());
      for (int64_t k = 0; k < taps;) {
        auto next = taps - k >= 9 ? 9 : taps - k >= 3 ? 3 : 1;
        auto* add = next == 9 ? add_tap_products<C, 9> : next == 3 ? add_tap_products<C, 3> : add_tap_products<C, 1>;
        add(gradients.data(), oh, ow, z.data(), offsets + k, row_step, column_step, own + k * lanes);
        k += next;
      }
    }
  });
  for (int64_t channel = 0; channel < s.c_in; ++channel) {
    for (int64_t k = 0; k < taps; ++k) {
      auto* from = sums.data() + (channel / lanes * parts * taps + k) * lanes + channel % lanes;
      auto sum = from[0];
      for (int64_t i = 1; i < parts; ++i) sum += from[i * taps * lanes];
      dw[channel * taps + k] = static_cast<T>(sum);
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
