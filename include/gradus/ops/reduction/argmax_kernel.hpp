// Where the largest element of each row or column is, in one pass over memory.
#pragma once

#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/reduction/reduce.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A value and where it was seen.
template <class C>
struct Top {
  C value;
  int64_t at;

  /// The larger of two, NaN before all; of equal ones this, which came first.
  Top merge(const Top& later) const { return value == value && !(later.value <= value) ? later : *this; }
};

/// The largest element that each lane has seen, and the number of the step at which it came.
template <class C>
struct TopLanes {
  Simd<C> value;
  Simd<Bits<C>> step;

  GRADUS_INLINE void take(const Simd<C>& x, Bits<C> now) {
    auto larger = !(x <= value) && value == value;
    value = where(larger, x, value);
    GRADUS_UNROLL
    for (int k = 0; k < Simd<C>::packets; ++k) step.p[k] = larger.p[k] ? Packet<Bits<C>>{} + now : step.p[k];
  }
  static GRADUS_INLINE TopLanes load(const C* values, const Bits<C>* steps) {
    return {Simd<C>::load(values), Simd<Bits<C>>::load(steps)};
  }
  GRADUS_INLINE void store(C* values, Bits<C>* steps) const {
    value.store(values);
    step.store(steps);
  }
};

template <Element T>
class ArgMax {
  using C = Compute<T>;
  using Step = Bits<C>;

 public:
  ArgMax(const TensorImpl& x, const ReduceShape& split, int64_t* to)
      : x_(reinterpret_cast<const T*>(x.data())), to_(to), plan_(split), step_(plan_.reduced.inner_stride(0)) {}

  void run() {
    if (plan_.outputs == 0) return;
    Scratch<Top<C>> partial(plan_.parts * plan_.outputs);
    plan_.for_tasks([&](int64_t part, int64_t first, int64_t last, int64_t from, int64_t to) {
      auto* tops = partial.data() + part * plan_.outputs + first;
      for_each_row(plan_.kept, first, last, [&](const int64_t* offsets, int64_t n) {
        auto* x = x_ + offsets[0];
        if (plan_.columns) columns(x, n, from, to, tops);
        else
          for (int64_t i = 0; i < n; ++i) tops[i] = row(x + i * plan_.kept.inner_stride(0), from, to);
        tops += n;
      });
    });
    plan_.merge_parts(
        partial.data(), [](const Top<C>& a, const Top<C>& b) { return a.merge(b); },
        [&](int64_t i, const Top<C>& top) { to_[i] = top.at; });
  }

 private:
  static constexpr int64_t wide = 2 * simd_lanes;

  /// Elements [from, to) of one row, in blocks whose steps are small numbers.
  Top<C> row(const T* x, int64_t from, int64_t to) const {
    constexpr int64_t block = 512 * wide;
    auto top = row_block(x, from, std::min(to, from + block));
    for (auto first = from + block; first < to; first += block)
      top = top.merge(row_block(x, first, std::min(to, first + block)));
    return top;
  }
  Top<C> row_block(const T* x, int64_t from, int64_t to) const {
    alignas(64) T gathered[wide];
    auto begin = x + from * step_;
    TopLanes<C> start{static_cast<C>(*begin), 0}, chains[2] = {start, start};  // of equal places the first counts
    auto steps = (to - from + wide - 1) / wide;
    for (int64_t i = 0; i < steps; ++i) {
      auto first = i * wide, count = std::min(wide, to - from - first);
      auto* now = begin + first * step_;
      if (step_ != 1 || count < wide) {
        for (int64_t k = 0; k < count; ++k) gathered[k] = now[k * step_];
        std::fill(gathered + count, gathered + wide, *begin);  // which was seen before
        now = gathered;
      }
      GRADUS_UNROLL
      for (int k = 0; k < 2; ++k) chains[k].take(Simd<C>::load(now + k * simd_lanes), static_cast<Step>(i));
    }
    // Of all lanes the largest value, and of those that have it the first place.
    auto top = fold_lanes(maximum(chains[0].value, chains[1].value), [](C a, C b) { return a > b || a != a ? a : b; });
    auto place = std::numeric_limits<Step>::max();
    for (int k = 0; k < 2; ++k) {
      alignas(64) C values[simd_lanes];
      alignas(64) Step at[simd_lanes];
      chains[k].store(values, at);
      for (int lane = 0; lane < simd_lanes; ++lane) {
        auto here = static_cast<Step>(at[lane] * wide + k * simd_lanes + lane);
        auto has_it = values[lane] == top || (top != top && values[lane] != values[lane]);
        place = has_it && here < place ? here : place;
      }
    }
    return {top, from + place};
  }

  /// Elements [from, to) of n neighbouring columns.
  void columns(const T* x, int64_t n, int64_t from, int64_t to, Top<C>* tops) const {
    auto whole = (n + simd_lanes - 1) / simd_lanes * simd_lanes;
    Scratch<C> values(whole);
    Scratch<Step> steps(whole);
    auto* first = x + from * step_;
    for (int64_t i = 0; i < n; i += simd_lanes)
      TopLanes<C>{load_some<C>(first + i, std::min<int64_t>(simd_lanes, n - i)), Simd<Step>(0)}.store(&values[i],
                                                                                                      &steps[i]);
    auto r = from + 1;
    for (; r + 4 <= to; r += 4) take_rows<4>(x + r * step_, n, r - from, values.data(), steps.data());
    for (; r < to; ++r) take_rows<1>(x + r * step_, n, r - from, values.data(), steps.data());
    for (int64_t i = 0; i < n; ++i) tops[i] = {values[i], from + steps[i]};
  }
  template <int count>
  void take_rows(const T* row, int64_t n, int64_t now, C* values, Step* steps) const {
    auto take = [&](int64_t i, int64_t some) GRADUS_INLINE_LAMBDA {
      auto lanes = TopLanes<C>::load(values + i, steps + i);
      GRADUS_UNROLL
      for (int k = 0; k < count; ++k) lanes.take(load_some<C>(row + k * step_ + i, some), static_cast<Step>(now + k));
      lanes.store(values + i, steps + i);
    };
    int64_t i = 0;
    for (; i + simd_lanes <= n; i += simd_lanes) take(i, simd_lanes);
    if (i < n) take(i, n - i);
  }

  const T* x_;
  int64_t* to_;
  ReducePlan plan_;
  int64_t step_;
};

/// Fills `to`, dense, with the places of the largest elements along the one axis that is reduced.
template <Element T>
void argmax_elements(const TensorImpl& x, const ReduceShape& split, int64_t* to) {
  ArgMax<T>(x, split, to).run();
}

}  // namespace gradus::detail::inline GRADUS_BUILD
