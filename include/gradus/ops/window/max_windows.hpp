// The kernels of largest elements of windows, of planes: which they are and where, and sums at these places.
#pragma once

#include <limits>

#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/ops/window/pool_lanes.hpp"
#include "gradus/ops/window/pool_quads.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Whether a value wins against the best so far. Where there are no NaN, one comparison less tells.
template <bool with_nan>
GRADUS_INLINE Mask<float> is_better(const Simd<float>& value, const Simd<float>& than) {
  if constexpr (with_nan) return value > than || value != value;
  else return value > than;
}
GRADUS_INLINE Simd<int32_t> choose_place(const Mask<float>& chosen, const Simd<int32_t>& a, Simd<int32_t> b) {
  GRADUS_UNROLL
  for (int k = 0; k < Simd<float>::packets; ++k) b.p[k] = chosen.p[k] ? a.p[k] : b.p[k];
  return b;
}

/// The best of rows' largest elements, which begin at place(0) ... place(count - 1).
template <bool with_nan, class T, class Place, class Count>
GRADUS_INLINE void best_of_rows(const float* values, const int32_t* places, Place&& place, Count count, int64_t windows,
                                int64_t room, T* y, int32_t* from) {
  auto last = std::max<int64_t>(windows - simd_lanes, 0);
  for (int64_t k = 0; k < windows; k += simd_lanes) {
    auto j = std::min(k, last);
    auto best = Simd<float>::load(values + place(0) + k);
    auto at = Simd<int32_t>::load(places + place(0) + k);
    for (int64_t a = 1; a < count; ++a) {
      auto value = Simd<float>::load(values + place(a) + k);
      auto won = is_better<with_nan>(value, best);
      best = where(won, value, best);
      at = choose_place(won, Simd<int32_t>::load(places + place(a) + k), at);
    }
    store_ahead(best, y + j, windows - j, room - j);
    store_ahead(at, from + j, windows - j, room - j);
  }
}

/// max_in_lanes for one plane, `number` of `planes`; whether there are NaN, which are right only with_nan.
template <bool with_nan, int Step, int Side, class T>
bool max_of_plane(const PoolShape& s, int64_t number, int64_t planes, const T* x, T* y, int32_t* from,
                  const SharedRows& shared, float* values, int32_t* places) {
  constexpr auto lowest = -std::numeric_limits<float>::infinity();
  auto size = s.h * s.w, ow = s.ow, count = s.oh * ow, w = s.w, room = (planes - number) * count;
  x += number * size, y += number * count, from += number * count;
  WindowLanes<Step, Side, T, float> lanes(s, x, number * size, (planes - number) * size, lowest);
  auto steps = counted_lanes<int32_t>(Step);
  auto left = static_cast<int32_t>(s.padding[1]), apart = Side > 0 ? 1 : static_cast<int32_t>(s.dilation[1]);
  Simd<float> sum(0);  // NaN where an element is; the infinities that make it so besides do no harm
  auto best_of_row = [&](int64_t row, int64_t to) GRADUS_INLINE_LAMBDA {
    auto first = static_cast<int32_t>(row * w) - left;
    lanes.for_registers(row, [&](int64_t j, int64_t k, auto inside) GRADUS_INLINE_LAMBDA {
      auto columns = steps + static_cast<int32_t>(j * Step);
      // The first element has won, though it is -inf. Left of the image it is as many columns further right.
      Simd<float> best(lowest);
      auto at = inside ? Simd<int32_t>(first) : maximum(Simd<int32_t>(first), first + left - columns);
      lanes.template each<inside>([&](int64_t b, const Simd<float>& value) GRADUS_INLINE_LAMBDA {
        if constexpr (!with_nan) sum = sum + value;
        if (inside && b == 0) return static_cast<void>(best = value);
        auto won = is_better<with_nan>(value, best);
        best = where(won, value, best);
        at = choose_place(won, Simd<int32_t>(first + static_cast<int32_t>(b) * apart), at);
      });
      best.store(values + to + k);
      (at + columns).store(places + to + k);
    });
  };
  shared.for_windows<Side>(s, best_of_row, [&](int64_t i, auto place, int64_t rows) GRADUS_INLINE_LAMBDA {
    auto join = [&](auto known) GRADUS_INLINE_LAMBDA {
      best_of_rows<with_nan>(values, places, place, known, ow, room - i * ow, y + i * ow, from + i * ow);
    };
    if (Side > 0 && rows == Side) join(std::integral_constant<int64_t, Side>());
    else join(rows);
  });
  return any(sum != sum);
}

/// max_of_windows for windows that are Step columns apart: the best of each row of windows, which those below share,
/// then the best of the rows.
template <int Step, class T>
void max_in_lanes(const PoolShape& s, int64_t planes, const T* x, T* y, int32_t* from) {
  SharedRows shared(s);
  Scratch<float> values(shared.count());
  Scratch<int32_t> places(shared.count());
  auto* fast = are_squares(s, 3) ? max_of_plane<false, Step, 3, T> : max_of_plane<false, Step, 0, T>;
  for (int64_t i = 0; i < planes; ++i) {
    if (fast(s, i, planes, x, y, from, shared, values.data(), places.data()))
      max_of_plane<true, Step, 0>(s, i, planes, x, y, from, shared, values.data(), places.data());
  }
}

/// The largest element of each window of some planes and where it was: the first of several, but the last NaN.
template <class T>
void max_of_windows(const PoolShape& s, int64_t planes, const T* x, T* y, int32_t* from) {
  if constexpr (std::is_same_v<Compute<T>, float>) {
    if (pools_in_lanes(s) && (s.padding[1] == 0 || s.dilation[1] == 1))
      return s.stride[1] == 1 ? max_in_lanes<1>(s, planes, x, y, from) : max_in_lanes<2>(s, planes, x, y, from);
  }
  for (int64_t plane = 0; plane < planes; ++plane, x += s.h * s.w) {
    for (int64_t i = 0; i < s.oh; ++i) {
      auto top = i * s.stride[0] - s.padding[0], left = -s.padding[1];
      for (int64_t j = 0; j < s.ow; ++j, left += s.stride[1]) {
        auto best = lowest_value<T>();
        int64_t at = -1;
        for (int64_t a = 0; a < s.kh; ++a) {
          auto row = top + a * s.dilation[0];
          if (row < 0 || row >= s.h) continue;
          for (int64_t b = 0; b < s.kw; ++b) {
            auto column = left + b * s.dilation[1];
            if (column < 0 || column >= s.w) continue;
            auto value = x[row * s.w + column];
            if (at < 0 || value > best || value != value) {
              best = value;
              at = row * s.w + column;
            }
          }
        }
        *y++ = best;
        *from++ = static_cast<int32_t>(at);
      }
    }
  }
}

/// max_of_quads for 16 windows; `first` is the place of the first one's upper left element.
template <class T>
GRADUS_INLINE void max_of_16_quads(const T* above, const T* below, int32_t first, int32_t width, T* y, int32_t* from) {
  static constexpr int32_t twice[] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  Simd<float> a, b, c, d;
  load_even_odd(above, a, b);
  load_even_odd(below, c, d);
  auto right = b > a || b != b, low_right = d > c || d != d;
  auto top = where(right, b, a), low = where(low_right, d, c);
  auto lower = low > top || low != low;
  auto places = Simd<int32_t>::load(twice) + Simd<int32_t>(first);
  for (int k = 0; k < Simd<float>::packets; ++k)  // a true lane of a mask is -1
    places.p[k] += lower.p[k] ? width - low_right.p[k] : -right.p[k];
  where(lower, low, top).store(y);
  places.store(from);
}

/// The same for fewer: what registers read and write beyond them stays in local memory.
template <class T>
void max_of_some_quads(const T* above, const T* below, int32_t first, int32_t width, int64_t count, T* y,
                       int32_t* from) {
  T rows[2][2 * simd_lanes] = {}, largest[simd_lanes];
  int32_t places[simd_lanes];
  std::copy_n(above, 2 * count, rows[0]);
  std::copy_n(below, 2 * count, rows[1]);
  max_of_16_quads(rows[0], rows[1], first, width, largest, places);
  std::copy_n(largest, count, y);
  std::copy_n(places, count, from);
}

/// The same for windows of 2 x 2 side by side, without branches.
template <class T>
void max_of_quads(const PoolShape& s, int64_t planes, const T* x, T* y, int32_t* from) {
  using C = Compute<T>;
  auto width = static_cast<int32_t>(s.w);
  for (int64_t plane = 0; plane < planes; ++plane, x += s.h * s.w, y += s.oh * s.ow, from += s.oh * s.ow) {
    for (int64_t i = 0; i < s.oh; ++i) {
      auto* above = x + 2 * i * s.w;
      auto* below = above + s.w;
      auto first = static_cast<int32_t>(2 * i * s.w);
      auto at = i * s.ow;
      if constexpr (std::is_same_v<C, float>) {
        // Registers may read and write beyond the row, but not beyond the plane; what comes next overwrites it.
        auto end = std::min(s.oh * s.ow - at - simd_lanes, (s.h * s.w - (2 * i + 1) * s.w) / 2 - simd_lanes);
        for (int64_t j = 0; j < s.ow; j += simd_lanes) {
          fetch_ahead(above + 4 * j, 4 * simd_lanes * int64_t{sizeof(T)}, pool_fetched_ahead);
          auto place = first + static_cast<int32_t>(2 * j);
          if (j <= end) max_of_16_quads(above + 2 * j, below + 2 * j, place, width, y + at + j, from + at + j);
          else
            max_of_some_quads(above + 2 * j, below + 2 * j, place, width, std::min<int64_t>(simd_lanes, s.ow - j),
                              y + at + j, from + at + j);
        }
      } else {
        for (int64_t j = 0; j < s.ow; ++j) {
          auto larger = [](C a, C b) { return b > a || b != b; };
          C a = above[2 * j], b = above[2 * j + 1], c = below[2 * j], d = below[2 * j + 1];
          auto right = larger(a, b), low_right = larger(c, d);
          C top = right ? b : a, low = low_right ? d : c;
          auto lower = larger(top, low);
          y[at + j] = static_cast<T>(lower ? low : top);
          from[at + j] =
              first + static_cast<int32_t>(2 * j) + (lower ? width + low_right : static_cast<int32_t>(right));
        }
      }
    }
  }
}

/// Planes of zeros, plus y[i] at from[i]; what meets is added in order.
template <class T>
void put_windows(const PoolShape& s, int64_t planes, const T* y, const int32_t* from, T* x) {
  using C = Compute<T>;
  if constexpr (std::is_same_v<T, C>) {
    if (put_quads(s, planes, y, from, x)) return;
  }
  auto size = s.h * s.w, count = s.oh * s.ow;
  Scratch<C> wide(std::is_same_v<T, C> ? 0 : size);  // sums of two bytes would be rounded at every step
  for (int64_t plane = 0; plane < planes; ++plane, y += count, from += count, x += size) {
    C* sums = wide.data();
    if constexpr (std::is_same_v<T, C>) sums = x;
    std::fill_n(sums, size, C(0));
    for (int64_t i = 0; i < count; ++i) sums[from[i]] += static_cast<C>(y[i]);
    if constexpr (!std::is_same_v<T, C>) convert_run(sums, size, x);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
