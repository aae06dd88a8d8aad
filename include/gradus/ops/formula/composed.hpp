// Functions of formulas that stand for several: value types compose them, but for registers, which have them in one.
#pragma once

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// log(1 + exp(x)) for x that is not above 0.
template <class V>
GRADUS_INLINE constexpr auto log1p_of_exp(const V& x) {
  return log1p(exp(x));
}

/// The normal distribution function, within a few roundings of 1.
template <class V>
GRADUS_INLINE constexpr auto normal_cdf(const V& x) {
  return 0.5 * (1.0 + erf(0.7071067811865476 * x));
}

}  // namespace gradus::detail::inline GRADUS_BUILD
