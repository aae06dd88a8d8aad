// Pooling in registers of 16 windows side by side, for windows that are one or two columns apart: first of the elements
// of a row of the image, then of its rows, since windows one below the other share these. The image is read as it is; a
// buffer of rows with room at their ends, tried before, is read across what has just been stored.
#pragma once

#include <algorithm>
#include <bit>
#include <utility>

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/window/pool_shape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int64_t most_lane_elements = 64, most_lane_terms = most_lane_elements;

/// Whether registers pay: rows of enough windows, and not too large ones.
inline bool pools_in_lanes(const PoolShape& s) {
  return s.stride[1] <= 2 && s.ow >= 4 && s.kh * s.kw <= most_lane_elements;
}

/// 0, step, 2 step ... 15 step.
template <class C>
GRADUS_INLINE Simd<C> counted_lanes(int step) {
  static constexpr C lanes[simd_lanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return Simd<C>::load(lanes) * Simd<C>(step);
}

inline int64_t whole_registers(int64_t n) { return (n + simd_lanes - 1) / simd_lanes * simd_lanes; }

/// The last rows of a plane that were asked for, in ascending order, each in a place of `size` elements that are `fill`
/// where nothing else is written.
template <class C>
class PaddedRows {
 public:
  PaddedRows(int64_t size, int64_t kept, C fill)
      : size_(size), kept_(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(kept)))), data_(size * kept_) {
    std::fill_n(data_.data(), size * kept_, fill);
  }

  void next_plane() { ready_ = 0; }

  /// The place of row r, which read(r, place) writes when it is needed. It may be one of the last `kept` rows or a
  /// later one.
  template <class Read>
  GRADUS_INLINE const C* row(int64_t r, Read&& read) {
    for (ready_ = std::max(ready_, r - kept_ + 1); ready_ <= r; ++ready_) read(ready_, place(ready_));
    return place(r);
  }

 private:
  C* place(int64_t r) const { return data_.data() + (r & (kept_ - 1)) * size_; }

  int64_t size_, kept_, ready_ = 0;
  Scratch<C> data_;
};

template <class From, class To>
GRADUS_INLINE void copy_converted(const From* from, int64_t n, To* to) {
  if constexpr (std::is_same_v<From, To>) std::copy_n(from, n, to);
  else convert_run(from, n, to);
}

template <class C, class T>
GRADUS_INLINE Packet<C> load_packet(const T* from) {
  if constexpr (std::is_same_v<T, C>) {
    return reinterpret_cast<Packet<C>>(*reinterpret_cast<const PacketInMemory<C>*>(from));
  } else {
    Packet<C> packet;
    for (int i = 0; i < Simd<C>::packet_lanes; ++i) packet[i] = static_cast<C>(from[i]);
    return packet;
  }
}

/// Numbers 0, 2, 4 ... 30 and 1, 3, 5 ... 31 of a row.
template <class T, class C>
GRADUS_INLINE void load_even_odd(const T* from, Simd<C>& even, Simd<C>& odd) {
  constexpr int packets = Simd<C>::packets, lanes = Simd<C>::packet_lanes;
  if constexpr (std::is_same_v<T, bf16>) {  // two to 32 bits, each the upper half of its float
    typedef uint32_t Both __attribute__((vector_size(register_bytes), aligned(alignof(bf16)), may_alias));
    for (int k = 0; k < packets; ++k) {
      auto both = reinterpret_cast<Packet<uint32_t>>(*reinterpret_cast<const Both*>(from + 2 * k * lanes));
      even.p[k] = reinterpret_cast<Packet<float>>(both << 16);
      odd.p[k] = reinterpret_cast<Packet<float>>(both & 0xffff0000u);
    }
  } else {
    [&]<size_t... I>(std::index_sequence<I...>) GRADUS_INLINE_LAMBDA {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k) {
        auto low = load_packet<C>(from + 2 * k * lanes), high = load_packet<C>(from + (2 * k + 1) * lanes);
        even.p[k] = __builtin_shufflevector(low, high, static_cast<int>(2 * I)...);
        odd.p[k] = __builtin_shufflevector(low, high, static_cast<int>(2 * I + 1)...);
      }
    }
    (std::make_index_sequence<static_cast<size_t>(lanes)>());
  }
}

/// Writes numbers of `even` and `odd` in turn.
template <class C>
GRADUS_INLINE void store_in_turn(const Simd<C>& even, const Simd<C>& odd, C* to) {
  constexpr int lanes = Simd<C>::packet_lanes;
  [&]<size_t... I>(std::index_sequence<I...>) GRADUS_INLINE_LAMBDA {
    for (int k = 0; k < Simd<C>::packets; ++k) {
      Packet<C> low = __builtin_shufflevector(even.p[k], odd.p[k], static_cast<int>(I / 2 + I % 2 * lanes)...);
      Packet<C> high =
          __builtin_shufflevector(even.p[k], odd.p[k], static_cast<int>(lanes / 2 + I / 2 + I % 2 * lanes)...);
      *reinterpret_cast<PacketInMemory<C>*>(to + 2 * k * lanes) = reinterpret_cast<PacketInMemory<C>>(low);
      *reinterpret_cast<PacketInMemory<C>*>(to + (2 * k + 1) * lanes) = reinterpret_cast<PacketInMemory<C>>(high);
    }
  }
  (std::make_index_sequence<static_cast<size_t>(lanes)>());
}

/// Bytes that are asked for before they are needed: a core that both reads and computes does not wait for them then.
inline constexpr int64_t pool_fetched_ahead = 4096;

/// Whether windows are Side x Side elements that lie side by side, as a constant in place of numbers.
inline bool are_squares(const PoolShape& s, int64_t side) {
  return s.kh == side && s.kw == side && s.dilation[0] == 1 && s.dilation[1] == 1;
}

/// Elements of 16 windows that are Step columns apart, straight from the rows of an image: what lies in the padding is
/// `fill`. The windows are Side x Side, or any for 0.
template <int Step, int Side, class T, class C>
class WindowLanes {
 public:
  /// The image has so many elements before it and from its beginning on.
  GRADUS_INLINE WindowLanes(const PoolShape& s, const T* x, int64_t before, int64_t after, C fill)
      : image_(x), w_(s.w), ow_(s.ow), kw_(s.kw), dilation_(s.dilation[1]), padding_(s.padding[1]), fill_(fill) {
    auto reach = (width() - 1) * apart();
    last_ = std::max<int64_t>(ow_ - simd_lanes, 0);
    first_inside_ = (padding_ + Step * simd_lanes - 1) / (Step * simd_lanes) * simd_lanes;
    // Window j reads columns up to Step * j - padding + reach.
    auto fit = w_ + padding_ - reach <= 0 ? 0 : (w_ + padding_ - reach - 1) / Step + 1;
    end_inside_ = Step * last_ < padding_ ? 0 : fit >= ow_ ? ow_ : fit / simd_lanes * simd_lanes;
    first_safe_ = padding_ - before;
    end_safe_ = after + padding_ - reach - Step * (last_ + simd_lanes);
  }

  /// Calls body(j, place, inside) for registers of windows j to j + 15 of a row, the last of which ends where a long
  /// row does; its place in a row of registers is a multiple of 16. `inside` is a constant: no element of the windows
  /// below `ow` lies in the padding.
  template <class Body>
  GRADUS_INLINE void for_registers(int64_t row, Body&& body) {
    row_ = image_ + row * w_;
    safe_ = row * w_ >= first_safe_ && row * w_ <= end_safe_;
    auto go_to = [&](int64_t place) GRADUS_INLINE_LAMBDA {
      auto j = std::min(place, last_);
      left_ = Step * j - padding_;
      fetch_ahead(row_ + left_, Step * simd_lanes * int64_t{sizeof(T)}, pool_fetched_ahead);
      return j;
    };
    for (int64_t place = 0; place < ow_; place += simd_lanes) {
      if (safe_ && place == first_inside_) {
        for (; place < end_inside_; place += simd_lanes) body(go_to(place), place, std::true_type());
        if (place >= ow_) break;
      }
      body(go_to(place), place, std::false_type());
    }
  }

  /// Calls body(b, elements b of the windows) for their elements of the row.
  template <bool inside, class Body>
  GRADUS_INLINE void each(Body&& body) const {
    int64_t b = 0;
    if constexpr (Step == 2) {  // neighbours come by the same loads
      for (; b + 1 < width() && apart() == 1 && (inside || safe_); b += 2) {
        Simd<C> even, odd;
        load_even_odd(row_ + left_ + b, even, odd);
        body(b, within<inside>(even, left_ + b));
        body(b + 1, within<inside>(odd, left_ + b + 1));
      }
    }
    for (; b < width(); ++b) {
      auto c = left_ + b * apart();
      if (inside || safe_) [[likely]] {
        Simd<C> value, odd;
        if constexpr (Step == 1) value = Simd<C>::load(row_ + c);
        else load_even_odd(row_ + c, value, odd);
        body(b, within<inside>(value, c));
      } else {
        body(b, one_by_one(row_, c, w_, fill_));
      }
    }
  }

 private:
  GRADUS_INLINE int64_t width() const { return Side > 0 ? Side : kw_; }
  GRADUS_INLINE int64_t apart() const { return Side > 0 ? 1 : dilation_; }

  /// Elements of columns c, c + Step ...: `fill` beyond the row.
  template <bool inside>
  GRADUS_INLINE Simd<C> within(const Simd<C>& value, int64_t c) const {
    if constexpr (inside) return value;
    auto result = value;
    auto columns = counted_lanes<Bits<C>>(Step) + Simd<Bits<C>>(c);
    using Unsigned = Packet<std::make_unsigned_t<Bits<C>>>;  // negative numbers are larger than all others
    GRADUS_UNROLL
    for (int k = 0; k < Simd<C>::packets; ++k)
      result.p[k] =
          reinterpret_cast<Unsigned>(columns.p[k]) < Unsigned{} + static_cast<std::make_unsigned_t<Bits<C>>>(w_)
              ? value.p[k]
              : Packet<C>{} + fill_;
    return result;
  }

  static GRADUS_COLD Simd<C> one_by_one(const T* row, int64_t c, int64_t width, C fill) {
    alignas(64) C lanes[simd_lanes];
    for (int64_t lane = 0; lane < simd_lanes; ++lane, c += Step)
      lanes[lane] = c >= 0 && c < width ? static_cast<C>(row[c]) : fill;
    return Simd<C>::load(static_cast<const C*>(lanes));
  }

  const T* image_;
  const T* row_ = nullptr;
  int64_t w_, ow_, kw_, dilation_, padding_, left_ = 0;
  int64_t last_, first_inside_, end_inside_;  // of windows j
  int64_t first_safe_, end_safe_;             // of row * w
  C fill_;
  bool safe_ = false;
};

/// The last rows of an image in which something was found for each window, which windows one below the other share.
class SharedRows {
 public:
  explicit SharedRows(const PoolShape& s)
      : size_(whole_registers(s.ow)),
        kept_(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>((s.kh - 1) * s.dilation[0] + 1)))),
        rows_(kept_) {}

  /// How much there is for all.
  int64_t count() const { return kept_ * size_; }

  /// For each row of windows of an image: find(row, place) for the rows that are not there, then
  /// join(i, place, count) for all of the windows, which place(0) ... place(count - 1) tells, from the top down.
  template <int Side, class Find, class Join>
  GRADUS_INLINE void for_windows(const PoolShape& s, Find&& find, Join&& join) const {
    auto h = s.h, stride = s.stride[0], dilation = Side > 0 ? 1 : s.dilation[0],
         reach = Side > 0 ? Side : (s.kh - 1) * dilation + 1, mask = kept_ - 1, size = size_, oh = s.oh;
    auto* known = rows_.data();
    std::fill_n(known, kept_, -1);
    int64_t top = -s.padding[0];
    for (int64_t i = 0; i < oh; ++i, top += stride) {
      auto first = top, end = std::min(top + reach, h), count = int64_t{0};
      while (first < 0) first += dilation;
      for (auto row = first; row < end; row += dilation, ++count) {
        auto slot = row & mask;
        if (known[slot] != row) find(row, slot * size);
        known[slot] = row;
      }
      join(
          i, [=](int64_t a) GRADUS_INLINE_LAMBDA { return ((first + a * dilation) & mask) * size; }, count);
    }
  }

 private:
  int64_t size_, kept_;
  Scratch<int64_t> rows_;
};

/// Rows of windows that are Step columns apart, as the columns of an image see them: of columns Step * m + phase,
/// window m - shift has element b, where b * dilation - padding = Step * shift + phase.
template <int Step>
class WindowRows {
 public:
  explicit WindowRows(const PoolShape& s)
      : s_(s), before_(std::max<int64_t>(((s.kw - 1) * s.dilation[1] - s.padding[1]) / Step, 0)) {
    for (auto b = s.kw - 1; b >= 0; --b) {  // of windows in ascending order
      auto column = b * s.dilation[1] - s.padding[1], phase = ((column % Step) + Step) % Step;
      shifts_[phase][counts_[phase]++] = (column - phase) / Step;
    }
  }

  int64_t before() const { return before_; }
  int64_t size() const {
    auto groups = whole_registers((s_.w + Step - 1) / Step) + (s_.padding[1] + Step - 1) / Step;
    return before_ + std::max(s_.ow, groups);
  }
  int64_t kept() const { return (s_.kh - 1) * s_.dilation[0] / s_.stride[0] + 2; }

  void next_plane() { first_ = 0; }
  /// Calls body(i) for the rows of windows that hold row r of the image, from the top down. Rows come in ascending
  /// order.
  template <class Body>
  GRADUS_INLINE void over(int64_t r, Body&& body) {
    auto from = r + s_.padding[0];
    while (first_ * s_.stride[0] + (s_.kh - 1) * s_.dilation[0] < from) ++first_;
    for (auto i = first_; i < s_.oh && i * s_.stride[0] <= from; ++i) {
      if (s_.dilation[0] == 1 || (from - i * s_.stride[0]) % s_.dilation[0] == 0) body(i);
    }
  }
  /// A row of windows that is needed soon: written now, it can be read without waiting then.
  int64_t soon(int64_t r) const { return std::min((r + s_.padding[0]) / s_.stride[0] + 1, s_.oh - 1); }

  int count(int phase) const { return counts_[phase]; }
  int64_t shift(int phase, int k) const { return shifts_[phase][k]; }

 private:
  const PoolShape& s_;
  int64_t before_, first_ = 0;
  int counts_[Step] = {};
  int64_t shifts_[Step][most_lane_elements];
};

/// Stores a register at `to`, where `count` numbers are wanted and `room` may be written: of those beyond, the caller
/// writes what belongs there later.
template <class C, class T>
GRADUS_INLINE void store_ahead(const Simd<C>& value, T* to, int64_t count, int64_t room) {
  if (room >= simd_lanes) value.store(to);
  else store_some(value, to, std::min(count, room));
}

/// Columns of a row from registers of every second one, or of all; as store_ahead.
template <int Step, class T, class C>
GRADUS_INLINE void store_columns(const Simd<C>& even, const Simd<C>& odd, T* to, int64_t count, int64_t room) {
  if constexpr (Step == 1) {
    store_ahead(even, to, count, room);
  } else {
    alignas(64) C columns[2 * simd_lanes];
    if constexpr (std::is_same_v<T, C>) {
      if (room >= 2 * simd_lanes) return store_in_turn(even, odd, to);
    }
    store_in_turn(even, odd, columns);
    copy_converted(static_cast<const C*>(columns), std::min<int64_t>(count, 2 * simd_lanes), to);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
