// Positions along an axis, as an index gives them, checked and turned into places in memory.
#pragma once

#include <algorithm>

#include "gradus/device/cpu/stream.hpp"
#include "gradus/tensor/copy.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A dense tensor as (outer, size of the axis, inner).
struct AxisSplit {
  int64_t outer = 1, size, inner = 1;
  AxisSplit(const Shape& shape, int axis) : size(shape[axis]) {
    for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape[i];
  }
};

inline constexpr int64_t places_at_once = 512;  // they stay in the first cache

/// The axis along which an operator's index counts: numbers are in [-size, size), negative ones count from the end.
struct IndexedAxis {
  const char* op;
  const Shape& shape;
  int64_t axis;
  int64_t step;  ///< elements from one position to the next
};

/// Throws for the first number that is out of range; there is one.
[[noreturn]] GRADUS_COLD inline void refuse_index(const IndexedAxis& of, const int64_t* numbers) {
  auto size = of.shape[static_cast<int>(of.axis)];
  while (*numbers >= -size && *numbers < size) ++numbers;
  fail<IndexError>({of.op, ": index ", *numbers, " is out of range for axis ", of.axis, " of shape ", of.shape});
}

/// places[i] = first + i * along + step * (position i), for n numbers; one that is out of range is refused. Without
/// branches, so that compilers make it registers.
inline void read_places(const IndexedAxis& of, const int64_t* numbers, int64_t n, int64_t first, int64_t along,
                        int64_t* places) {
  auto size = static_cast<uint64_t>(of.shape[static_cast<int>(of.axis)]), step = static_cast<uint64_t>(of.step);
  auto next = static_cast<uint64_t>(first), more = static_cast<uint64_t>(along);
  uint64_t outside = 0;  // its highest bit: unsigned, as sums of what is out of range may wrap
  for (int64_t i = 0; i < n; ++i) {
    auto number = numbers[i];
    auto position = static_cast<uint64_t>(number) + (number < 0 ? size : 0);
    outside |= position | (size - 1 - position);
    places[i] = static_cast<int64_t>(next + static_cast<uint64_t>(i) * more + position * step);
  }
  if (static_cast<int64_t>(outside) < 0) refuse_index(of, numbers);
}

/// Calls body(places, first, count) for elements [first, last) of a dense index, some at a time. The plan is that of
/// the index, with the strides of the tensor that it points into, but 0 along the axis.
template <class Body>
void for_each_place(const IndexedAxis& of, const LoopPlan& plan, const int64_t* numbers, int64_t first, int64_t last,
                    Body&& body) {
  alignas(64) int64_t places[places_at_once];
  for (; first < last; first += places_at_once) {
    auto count = std::min(places_at_once, last - first);
    int64_t filled = 0;
    fetch_ahead(numbers + first + count, std::min(places_at_once, last - first - count) * int64_t{sizeof(int64_t)});
    for_each_row(plan, first, first + count, [&](const int64_t* offsets, int64_t run) {
      read_places(of, numbers + first + filled, run, offsets[0], plan.inner_stride(0), places + filled);
      filled += run;
    });
    body(static_cast<const int64_t*>(places), first, count);
  }
}

/// The plan for for_each_place.
inline LoopPlan plan_places(const Shape& index, Strides strides, int axis) {
  strides[axis] = 0;
  return plan_loop(index, &strides, 1);
}

/// Copies bytes to a part of a result that goes past the caches where `streamed` says so.
inline void put_bytes(void* to, const void* from, int64_t bytes, bool streamed) {
  if (streamed && reinterpret_cast<uintptr_t>(to) % 64 == 0)
    return stream_out(static_cast<char*>(to), static_cast<const char*>(from), bytes);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace gradus::detail::inline GRADUS_BUILD
