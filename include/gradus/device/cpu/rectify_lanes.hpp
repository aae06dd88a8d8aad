// Rectifiers in registers.
#pragma once

#include "gradus/core/rectifier.hpp"
#include "gradus/device/cpu/simd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A vector's numbers within a range, its ends where they are beyond; NaN stays NaN. The sum has no -0, which would
/// stay -0 as well. Written so, each choice is one instruction.
template <class V, class C>
GRADUS_INLINE V rectified(V x, const RectifierRange<C>& range) {
  auto low = range.low - V{}, high = range.high - V{};
  x += V{};
  x = low > x ? low : x;
  return high < x ? high : x;
}

template <class C>
GRADUS_INLINE Simd<C> rectified(Simd<C> x, const RectifierRange<C>& range) {
  GRADUS_UNROLL
  for (auto& packet : x.p) packet = rectified(packet, range);
  return x;
}

/// What dy passes back through a rectifier between low and high, which is given z.
template <class C>
GRADUS_INLINE Simd<C> passed(const Simd<C>& dy, const Simd<C>& z, const Simd<C>& low, const Simd<C>& high) {
  return where(z <= low || z >= high, Simd<C>(C(0)), dy);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
