// The activations that an operator applies to its own result, in the pass over memory that writes it.
#pragma once

#include <limits>

#include "gradus/core/config.hpp"

namespace gradus::inline GRADUS_BUILD {

/// relu is max(z, 0), relu6 min(max(z, 0), 6). NaN stays NaN; the gradient is 0 where z is at a bound or beyond.
enum class Rectifier { none, relu, relu6 };

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// The open interval in which a rectifier leaves numbers as they are; outside they become its nearer end.
template <class C>
struct RectifierRange {
  C low = -std::numeric_limits<C>::infinity(), high = std::numeric_limits<C>::infinity();

  constexpr explicit RectifierRange(Rectifier rectifier) {
    if (rectifier != Rectifier::none) low = C(0);
    if (rectifier == Rectifier::relu6) high = C(6);
  }

  constexpr bool bounded() const { return low == C(0); }  ///< whether there is a rectifier
};

}  // namespace gradus::detail::inline GRADUS_BUILD
