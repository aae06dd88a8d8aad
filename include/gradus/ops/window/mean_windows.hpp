// The kernels of means of windows of planes, and of their gradient.
#pragma once

#include "gradus/ops/window/pool_lanes.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Calls body(window, first row, last row, first column, last column, divisor) for the windows of a plane.
template <class Body>
void for_mean_windows(const PoolShape& s, bool include_padding, Body&& body) {
  for (int64_t i = 0; i < s.oh; ++i) {
    auto top = i * s.stride[0] - s.padding[0], bottom = std::min(top + s.kh, s.h + s.padding[0]);
    for (int64_t j = 0; j < s.ow; ++j) {
      auto left = j * s.stride[1] - s.padding[1], right = std::min(left + s.kw, s.w + s.padding[1]);
      auto padded = (bottom - top) * (right - left);
      auto r0 = std::max<int64_t>(top, 0), r1 = std::min(bottom, s.h), c0 = std::max<int64_t>(left, 0),
           c1 = std::min(right, s.w);
      body(i * s.ow + j, r0, r1, c0, c1, include_padding ? padded : (r1 - r0) * (c1 - c0));
    }
  }
}

/// By how much the sums of a plane's windows are divided: a number a row of windows times one a column.
template <class C>
class WindowSizes {
 public:
  WindowSizes(const PoolShape& s, bool include_padding)
      : s_(s), include_padding_(include_padding), columns_(whole_registers(s.ow)) {
    for (int64_t j = 0; j < whole_registers(s.ow); ++j)
      columns_[j] = static_cast<C>(j < s.ow ? size(j, s.stride[1], s.padding[1], s.kw, s.w) : 1);
  }

  /// Of windows j to j + 15 of row i.
  GRADUS_INLINE Simd<C> of(int64_t i, int64_t j) const { return of_columns(j) * Simd<C>(of_row(i)); }
  GRADUS_INLINE Simd<C> of_columns(int64_t j) const { return Simd<C>::load(columns_.data() + j); }
  const C* columns() const { return columns_.data(); }
  GRADUS_INLINE C of_row(int64_t i) const { return static_cast<C>(size(i, s_.stride[0], s_.padding[0], s_.kh, s_.h)); }

 private:
  int64_t size(int64_t window, int64_t step, int64_t padding, int64_t kernel, int64_t n) const {
    auto first = window * step - padding, end = std::min(first + kernel, n + padding);
    return include_padding_ ? end - first : std::min(end, n) - std::max<int64_t>(first, 0);
  }

  const PoolShape& s_;
  bool include_padding_;
  Scratch<C> columns_;
};

/// The means of windows from the sums of rows, which begin at place(0) ... place(count - 1).
template <class T, class C, class Place, class Count>
GRADUS_INLINE void mean_of_rows(const C* sums, Place&& place, Count count, const C* widths, C height, int64_t windows,
                                int64_t room, T* y) {
  auto last = std::max<int64_t>(windows - simd_lanes, 0);
  Simd<C> heights(height);
  for (int64_t k = 0; k < windows; k += simd_lanes) {
    auto j = std::min(k, last);
    auto sum = Simd<C>::load(sums + place(0) + k);
    for (int64_t a = 1; a < count; ++a) sum = sum + Simd<C>::load(sums + place(a) + k);
    store_ahead(sum / (Simd<C>::load(widths + j) * heights), y + j, windows - j, room - j);
  }
}

/// mean_of_windows for windows that are Step columns apart: sums of the rows of windows, which those below share, then
/// of these. What lies in the padding adds zeros. The windows are Side x Side, or any for 0.
template <int Step, int Side, class T>
void mean_in_lanes(const PoolShape& s, int64_t planes, bool include_padding, const T* x, T* y) {
  using C = Compute<T>;
  WindowSizes<C> sizes(s, include_padding);
  SharedRows shared(s);
  Scratch<C> scratch(shared.count());
  auto* sums = scratch.data();
  auto* widths = sizes.columns();
  auto size = s.h * s.w, ow = s.ow, count = s.oh * ow, room = planes * count;
  for (int64_t plane = 0; plane < planes; ++plane, y += count, room -= count) {
    WindowLanes<Step, Side, T, C> lanes(s, x + plane * size, plane * size, (planes - plane) * size, C(0));
    auto sum_of_row = [&](int64_t row, int64_t to) GRADUS_INLINE_LAMBDA {
      lanes.for_registers(row, [&](int64_t, int64_t k, auto inside) GRADUS_INLINE_LAMBDA {
        Simd<C> sum(0);
        lanes.template each<inside>([&](int64_t b, const Simd<C>& value)
                                        GRADUS_INLINE_LAMBDA { sum = b == 0 ? value : sum + value; });
        sum.store(sums + to + k);
      });
    };
    shared.for_windows<Side>(s, sum_of_row, [&](int64_t i, auto place, int64_t rows) GRADUS_INLINE_LAMBDA {
      auto join = [&](auto known) GRADUS_INLINE_LAMBDA {
        mean_of_rows(sums, place, known, widths, sizes.of_row(i), ow, room - i * ow, y + i * ow);
      };
      if (Side > 0 && rows == Side) join(std::integral_constant<int64_t, Side>());
      else join(rows);
    });
  }
}

/// Means of the windows of some planes.
template <class T>
void mean_of_windows(const PoolShape& s, int64_t planes, bool include_padding, const T* x, T* y) {
  using C = Compute<T>;
  if (pools_in_lanes(s)) {
    auto* run = s.stride[1] == 1 ? mean_in_lanes<1, 0, T> : mean_in_lanes<2, 0, T>;
    if (are_squares(s, 3)) run = s.stride[1] == 1 ? mean_in_lanes<1, 3, T> : mean_in_lanes<2, 3, T>;
    if (are_squares(s, 2) && s.stride[1] == 2) run = mean_in_lanes<2, 2, T>;
    return run(s, planes, include_padding, x, y);
  }
  for (int64_t plane = 0; plane < planes; ++plane, x += s.h * s.w, y += s.oh * s.ow) {
    for_mean_windows(s, include_padding,
                     [&](int64_t window, int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t divisor) {
                       C total = 0;
                       for (auto r = r0; r < r1; ++r) {
                         for (auto c = c0; c < c1; ++c) total += static_cast<C>(x[r * s.w + c]);
                       }
                       y[window] = static_cast<T>(total / static_cast<C>(divisor));
                     });
  }
}

/// share_windows for windows that are Step columns apart: a register of columns at a time takes the shares of the
/// windows over it, in the windows' order.
template <int Step, class T>
void share_in_lanes(const PoolShape& s, int64_t planes, bool include_padding, const T* dy, T* dx) {
  using C = Compute<T>;
  WindowRows<Step> windows(s);
  PaddedRows<C> shares(windows.size(), windows.kept(), C(0));
  WindowSizes<C> sizes(s, include_padding);
  Scratch<C> nothing(windows.size());
  std::fill_n(nothing.data(), windows.size(), C(0));
  for (int64_t plane = 0; plane < planes; ++plane, dy += s.oh * s.ow, dx += s.h * s.w) {
    auto read = [&](int64_t i, C* to) {
      for_each_register(dy + i * s.ow, s.ow, C(0), [&](int64_t j, const Simd<C>& value, int64_t count) {
        store_some(value / sizes.of(i, j), to + windows.before() + j, count);
      });
    };
    windows.next_plane(), shares.next_plane();
    for (int64_t r = 0; r < s.h; ++r) {
      const C* arriving[most_lane_terms][Step];
      int counts[Step] = {};
      shares.row(windows.soon(r), read);
      windows.over(r, [&](int64_t i) {
        auto* row = shares.row(i, read) + windows.before();
        for (int phase = 0; phase < Step; ++phase) {
          for (int k = 0; k < windows.count(phase); ++k)
            arriving[counts[phase]++][phase] = row - windows.shift(phase, k);
        }
      });
      auto terms = *std::max_element(counts, counts + Step);  // for each phase
      for (int phase = 0; phase < Step; ++phase) {
        while (counts[phase] < terms) arriving[counts[phase]++][phase] = nothing.data() + windows.before();
      }
      for (int64_t m = 0; Step * m < s.w; m += simd_lanes) {
        Simd<C> sums[2] = {Simd<C>(0), Simd<C>(0)};
        for (int e = 0; e < terms; ++e) {
          GRADUS_UNROLL
          for (int phase = 0; phase < Step; ++phase) sums[phase] = sums[phase] + Simd<C>::load(arriving[e][phase] + m);
        }
        auto done = r * s.w + Step * m;
        store_columns<Step>(sums[0], sums[Step - 1], dx + done, s.w - Step * m, (planes - plane) * s.h * s.w - done);
      }
    }
  }
}

/// The transpose of mean_of_windows: each element of a plane gets the shares of the windows over it, added in order.
template <class T>
void share_windows(const PoolShape& s, int64_t planes, bool include_padding, const T* dy, T* dx) {
  using C = Compute<T>;
  if (pools_in_lanes(s))
    return s.stride[1] == 1 ? share_in_lanes<1>(s, planes, include_padding, dy, dx)
                            : share_in_lanes<2>(s, planes, include_padding, dy, dx);
  auto size = s.h * s.w;
  Scratch<C> wide(std::is_same_v<T, C> ? 0 : size);  // sums of two bytes would be rounded at every step
  for (int64_t plane = 0; plane < planes; ++plane, dy += s.oh * s.ow, dx += size) {
    C* sums = wide.data();
    if constexpr (std::is_same_v<T, C>) sums = dx;
    std::fill_n(sums, size, C(0));
    for_mean_windows(s, include_padding,
                     [&](int64_t window, int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t divisor) {
                       auto share = static_cast<C>(dy[window]) / static_cast<C>(divisor);
                       for (auto r = r0; r < r1; ++r) {
                         for (auto c = c0; c < c1; ++c) sums[r * s.w + c] += share;
                       }
                     });
    if constexpr (!std::is_same_v<T, C>) convert_run(sums, size, dx);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
