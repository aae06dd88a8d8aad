// Batch norm's passes over runs of memory on the CPU: of one channel, or of several channels side by side.
#pragma once

#include "gradus/device/cpu/rectify_lanes.hpp"
#include "gradus/ops/norm/channel_parameters.hpp"
#include "gradus/ops/reduction/moments.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What is done with the elements of a run. `numbers` are rows of as many as the run has, up to a whole register, or of
/// one register that goes for all (`same`): mean, scale, shift, and for the gradient slope and rest.
template <class C>
struct ChannelRun {
  const C* numbers;
  int64_t row;  ///< from row to row
  bool same;
  RectifierRange<C> range;
};

/// The first rows of a run of one channel, in registers.
template <class C, int Rows>
class SameNumbers {
 public:
  explicit SameNumbers(const ChannelRun<C>& run) {
    for (int k = 0; k < Rows; ++k) rows_[k] = Simd<C>::load(run.numbers + k * run.row);
  }
  GRADUS_INLINE Simd<C> at(int which, int64_t) const { return rows_[which]; }

 private:
  Simd<C> rows_[Rows];
};
/// Those of a run of several.
template <class C>
struct OwnNumbers {
  const C* numbers;
  int64_t row;
  GRADUS_INLINE Simd<C> at(int which, int64_t i) const { return Simd<C>::load(numbers + which * row + i); }
};
template <int Rows, class C, class Body>
GRADUS_INLINE void with_numbers(const ChannelRun<C>& run, const Body& body) {
  if (run.same) body(SameNumbers<C, Rows>(run));
  else body(OwnNumbers<C>{run.numbers, run.row});
}

/// y = the rectifier of (x - mean) scale + shift + residual, which may be null.
template <Floating T, class C = Compute<T>>
void normalize_run(const T* x, const T* residual, int64_t n, const ChannelRun<C>& run, T* y, bool streamed) {
  const auto& range = run.range;
  with_numbers<3>(run, [&](const auto& numbers) GRADUS_INLINE_LAMBDA {
    auto pass = [&](auto&& finish) GRADUS_INLINE_LAMBDA {
      for_each_register(x, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
        auto z = fma(v - numbers.at(0, i), numbers.at(1, i), numbers.at(2, i));
        store_row(finish(z, i, count), y + i, count, streamed);
      });
    };
    if (residual != nullptr)
      pass([&](const Simd<C>& z, int64_t i, int64_t count) GRADUS_INLINE_LAMBDA {
        auto sum = z + load_some<C>(residual + i, count);
        return range.bounded() ? rectified(sum, range) : sum;
      });
    else if (range.bounded())
      pass([&](const Simd<C>& z, int64_t, int64_t) GRADUS_INLINE_LAMBDA { return rectified(z, range); });
    else pass([](const Simd<C>& z, int64_t, int64_t) GRADUS_INLINE_LAMBDA { return z; });
  });
}

/// body(i, what dy[i...] passes through the rectifier, x[i...] - mean, count) over a run.
template <class C, class T, class Numbers, class Body>
GRADUS_INLINE void for_each_passed(const T* dy, const T* x, int64_t n, const Numbers& numbers,
                                   const RectifierRange<C>& range, const Body& body) {
  Simd<C> low(range.low), high(range.high);
  auto pass = [&](auto&& through) GRADUS_INLINE_LAMBDA {
    for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& g, int64_t count) GRADUS_INLINE_LAMBDA {
      auto away = load_some<C>(x + i, count) - numbers.at(0, i);
      body(i, through(g, away, i), away, count);
    });
  };
  if (range.bounded())
    pass([&](const Simd<C>& g, const Simd<C>& away, int64_t i)
             GRADUS_INLINE_LAMBDA { return passed(g, fma(away, numbers.at(1, i), numbers.at(2, i)), low, high); });
  else pass([](const Simd<C>& g, const Simd<C>&, int64_t) GRADUS_INLINE_LAMBDA { return g; });
}

/// for_each_passed() of dy + more, which is kept.
template <class C, class T, class Numbers, class Body>
GRADUS_INLINE void for_each_kept(const ArrivedGradient<T>& arrived, const T* x, int64_t n, const Numbers& numbers,
                                 const RectifierRange<C>& range, const Body& body) {
  constexpr int64_t ahead = 1024;  // the processor alone does not fetch so many streams as fast as it could
  auto [dy, more, result, kept] = arrived;
  Simd<C> low(range.low), high(range.high);
  for_each_register(dy, n, C(0), [&](int64_t i, Simd<C> g, int64_t count) GRADUS_INLINE_LAMBDA {
    auto fetched = [&](const T* stream) GRADUS_INLINE_LAMBDA {
      fetch_beyond(stream + i, ahead);
      return load_some<C>(stream + i, count);
    };
    fetch_beyond(dy + i, ahead);
    auto away = fetched(x) - numbers.at(0, i);
    if (more != nullptr) g = g + fetched(more);
    g = passed(g, result != nullptr ? fetched(result) : fma(away, numbers.at(1, i), numbers.at(2, i)), low, high);
    store_some(g, kept + i, count);
    body(i, g, away, count);
  });
}
template <class C, class T, class Numbers, class Body>
GRADUS_INLINE void for_each_arrived(const ArrivedGradient<T>& arrived, const T* x, int64_t n, const Numbers& numbers,
                                    const RectifierRange<C>& range, const Body& body) {
  if (arrived.kept == nullptr) for_each_passed<C>(arrived.dy, x, n, numbers, range, body);
  else for_each_kept<C>(arrived, x, n, numbers, range, body);
}

/// dx = scale times what dy passes through the rectifier, + slope (x - mean) + rest.
template <Floating T, class C = Compute<T>>
void gradient_run(const T* dy, const T* x, int64_t n, const ChannelRun<C>& run, T* dx, bool streamed) {
  with_numbers<5>(run, [&](const auto& numbers) GRADUS_INLINE_LAMBDA {
    auto store = [&](int64_t i, const Simd<C>& g, const Simd<C>& away, int64_t count) GRADUS_INLINE_LAMBDA {
      auto rest = fma(away, numbers.at(3, i), numbers.at(4, i));
      store_row(fma(g, numbers.at(1, i), rest), dx + i, count, streamed);
    };
    for_each_passed<C>(dy, x, n, numbers, run.range, store);
  });
}

/// Adds to the sums of what of the gradient passes the rectifier, and of that times x - mean. sums: (2, simd_lanes) of
/// a run of one channel, which stand for their total; of a run of several, of each element (2, run.row).
template <Floating T, class C = Compute<T>>
void add_gradient_sums(const ArrivedGradient<T>& arrived, const T* x, int64_t n, const ChannelRun<C>& run, C* sums) {
  if (run.same) {
    auto plain = Simd<C>::load(sums), scaled = Simd<C>::load(sums + simd_lanes);
    auto add = [&](int64_t, const Simd<C>& g, const Simd<C>& away, int64_t) GRADUS_INLINE_LAMBDA {
      plain = plain + g;
      scaled = fma(g, away, scaled);
    };
    for_each_arrived<C>(arrived, x, n, SameNumbers<C, 3>(run), run.range, add);
    plain.store(sums);
    scaled.store(sums + simd_lanes);
    return;
  }
  auto add = [&](int64_t i, const Simd<C>& g, const Simd<C>& away, int64_t) GRADUS_INLINE_LAMBDA {
    (Simd<C>::load(sums + i) + g).store(sums + i);
    fma(g, away, Simd<C>::load(sums + run.row + i)).store(sums + run.row + i);
  };
  for_each_arrived<C>(arrived, x, n, OwnNumbers<C>{run.numbers, run.row}, run.range, add);
}

/// Of channels that lie side by side, each with `count` runs of `size` which are `stride` apart: moments[channel].
template <Floating T>
void channel_moments(const T* x, int64_t channels, int64_t count, int64_t size, int64_t stride,
                     Moments<Compute<T>>* moments) {
  std::fill_n(moments, channels, Moments<Compute<T>>());
  auto together = runs_in_block(size);
  for (int64_t i = 0; i < count; i += together) {
    for (int64_t c = 0; c < channels; ++c) {
      add_runs(x + i * stride + c * size, std::min(together, count - i), size, stride, moments[c]);
    }
  }
}
/// Mean and sum of squares around it of each of n elements side by side, over `count` runs `stride` apart: (2, row).
template <Floating T, class C = Compute<T>>
void column_moments(const T* x, int64_t count, int64_t n, int64_t stride, int64_t row, C* moments) {
  auto *mean = moments, *squares = moments + row;
  std::fill_n(moments, 2 * row, C(0));
  for (int64_t i = 0; i < count; ++i) {
    for_each_register(x + i * stride, n, C(0), [&](int64_t k, const Simd<C>& v, int64_t) GRADUS_INLINE_LAMBDA {
      (Simd<C>::load(mean + k) + v).store(mean + k);
    });
  }
  auto share = C(1) / static_cast<C>(count);
  for (int64_t k = 0; k < row; ++k) mean[k] *= share;
  for (int64_t i = 0; i < count; ++i) {
    for_each_register(x + i * stride, n, C(0), [&](int64_t k, const Simd<C>& v, int64_t) GRADUS_INLINE_LAMBDA {
      auto away = v - Simd<C>::load(mean + k);
      fma(away, away, Simd<C>::load(squares + k)).store(squares + k);
    });
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
