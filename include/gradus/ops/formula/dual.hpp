// A value and its derivative: forward-mode differentiation of a formula, over any value type V that has the
// vocabulary of formulas (registers, symbols, tensors, traces). Every derivative rule of the library's
// pointwise vocabulary stands here, once.
#pragma once

#include <type_traits>
#include <utility>

#include "gradus/core/config.hpp"
#include "gradus/ops/formula/composed.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// `derivative` is the seed times d value / d operand, so that a seed of dy gives the gradient directly.
template <class V>
struct Dual {
  V value;
  V derivative;
};

template <class A>
inline constexpr bool is_dual = false;
template <class V>
inline constexpr bool is_dual<Dual<V>> = true;

template <class A>
GRADUS_INLINE constexpr const auto& value_of(const A& a) {
  if constexpr (is_dual<A>) return a.value;
  else return a;
}

template <class A, class B> concept OneIsDual = is_dual<A> || is_dual<B>;

template <class V>
GRADUS_INLINE constexpr Dual<V> make_dual(V value, V derivative) {
  return {std::move(value), std::move(derivative)};
}

// ---- arithmetic ----------------------------------------------------------------------------------

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator+(const A& a, const B& b) {
  auto y = value_of(a) + value_of(b);
  if constexpr (is_dual<A> && is_dual<B>) return make_dual<decltype(y)>(y, a.derivative + b.derivative);
  else if constexpr (is_dual<A>) return make_dual<decltype(y)>(y, a.derivative);
  else return make_dual<decltype(y)>(y, b.derivative);
}

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator-(const A& a, const B& b) {
  auto y = value_of(a) - value_of(b);
  if constexpr (is_dual<A> && is_dual<B>) return make_dual<decltype(y)>(y, a.derivative - b.derivative);
  else if constexpr (is_dual<A>) return make_dual<decltype(y)>(y, a.derivative);
  else return make_dual<decltype(y)>(y, -b.derivative);
}

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator*(const A& a, const B& b) {
  auto y = value_of(a) * value_of(b);
  if constexpr (is_dual<A> && is_dual<B>) {
    return make_dual<decltype(y)>(y, a.derivative * b.value + a.value * b.derivative);
  } else if constexpr (is_dual<A>) {
    return make_dual<decltype(y)>(y, a.derivative * b);
  } else {
    return make_dual<decltype(y)>(y, a * b.derivative);
  }
}

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator/(const A& a, const B& b) {
  auto y = value_of(a) / value_of(b);
  if constexpr (is_dual<A> && is_dual<B>) {
    return make_dual<decltype(y)>(y, (a.derivative - y * b.derivative) / b.value);
  } else if constexpr (is_dual<A>) {
    return make_dual<decltype(y)>(y, a.derivative / b);
  } else {
    return make_dual<decltype(y)>(y, -(b.derivative * (y / b.value)));
  }
}

template <class V>
GRADUS_INLINE constexpr Dual<V> operator-(const Dual<V>& a) {
  return {-a.value, -a.derivative};
}

// ---- comparisons see the values only --------------------------------------------------------------

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator<(const A& a, const B& b) {
  return value_of(a) < value_of(b);
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator<=(const A& a, const B& b) {
  return value_of(a) <= value_of(b);
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator>(const A& a, const B& b) {
  return value_of(a) > value_of(b);
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator>=(const A& a, const B& b) {
  return value_of(a) >= value_of(b);
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator==(const A& a, const B& b) {
  return value_of(a) == value_of(b);
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto operator!=(const A& a, const B& b) {
  return value_of(a) != value_of(b);
}

// ---- choices --------------------------------------------------------------------------------------

/// The derivative of what is chosen: a choice that is cut off contributes 0 even where it is infinite.
template <class M, class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto where(const M& condition, const A& a, const B& b) {
  auto y = where(condition, value_of(a), value_of(b));
  if constexpr (is_dual<A> && is_dual<B>) {
    return make_dual<decltype(y)>(y, where(condition, a.derivative, b.derivative));
  } else if constexpr (is_dual<A>) {
    return make_dual<decltype(y)>(y, where(condition, a.derivative, 0.0));
  } else {
    return make_dual<decltype(y)>(y, where(condition, 0.0, b.derivative));
  }
}

/// What the larger of two passes to `a`: half at a tie, and all beside a NaN, as in PyTorch.
template <class A, class B, class V>
GRADUS_INLINE constexpr auto share_of_larger(const A& a, const B& b, const V& derivative) {
  return where(a < b, 0.0, where(a == b, 0.5 * derivative, derivative));
}

template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto maximum(const A& a, const B& b) {
  auto y = maximum(value_of(a), value_of(b));
  if constexpr (is_dual<A> && is_dual<B>) {
    return make_dual<decltype(y)>(y, share_of_larger(a, b, a.derivative) + share_of_larger(b, a, b.derivative));
  } else if constexpr (is_dual<A>) {
    return make_dual<decltype(y)>(y, share_of_larger(a, b, a.derivative));
  } else {
    return maximum(b, a);
  }
}
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto minimum(const A& a, const B& b) { return -maximum(-a, -b); }

// ---- functions ------------------------------------------------------------------------------------

template <class V>
GRADUS_INLINE constexpr Dual<V> exp(const Dual<V>& x) {
  auto y = exp(x.value);
  return {y, x.derivative * y};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> expm1(const Dual<V>& x) {
  auto y = expm1(x.value);
  return {y, x.derivative * (y + 1.0)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> log(const Dual<V>& x) {
  return {log(x.value), x.derivative / x.value};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> log1p(const Dual<V>& x) {
  return {log1p(x.value), x.derivative / (x.value + 1.0)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> log1p_of_exp(const Dual<V>& x) {
  auto e = exp(x.value);
  return {log1p_of_exp(x.value), x.derivative * e / (e + 1.0)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> tanh(const Dual<V>& x) {
  auto y = tanh(x.value);
  return {y, x.derivative * (1.0 - y * y)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> sigmoid(const Dual<V>& x) {
  auto y = sigmoid(x.value);
  return {y, x.derivative * ((1.0 - y) * y)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> erf(const Dual<V>& x) {
  return {erf(x.value), x.derivative * (1.1283791670955126 * exp(-(x.value * x.value)))};  // 2 / sqrt(pi)
}
template <class V>
GRADUS_INLINE constexpr Dual<V> normal_cdf(const Dual<V>& x) {
  return {normal_cdf(x.value),
          x.derivative * (0.3989422804014327 * exp(-0.5 * (x.value * x.value)))};  // 1 / sqrt(2 pi)
}
template <class V>
GRADUS_INLINE constexpr Dual<V> sin(const Dual<V>& x) {
  return {sin(x.value), x.derivative * cos(x.value)};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> cos(const Dual<V>& x) {
  return {cos(x.value), -(x.derivative * sin(x.value))};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> sqrt(const Dual<V>& x) {
  auto y = sqrt(x.value);
  return {y, x.derivative / (2.0 * y)};
}
/// The derivative at 0 is 0.
template <class V>
GRADUS_INLINE constexpr Dual<V> abs(const Dual<V>& x) {
  return {abs(x.value), where(x.value > 0.0, x.derivative, where(x.value < 0.0, -x.derivative, 0.0))};
}
template <class V>
GRADUS_INLINE constexpr Dual<V> floor(const Dual<V>& x) {
  return {floor(x.value), 0.0 * x.derivative};
}

/// x to the power y, both real; the derivative of 0^y with respect to y is 0 for y >= 0, that of x^0 is 0.
template <class A, class B>
requires OneIsDual<A, B> GRADUS_INLINE constexpr auto pow(const A& a, const B& b) {
  auto y = pow(value_of(a), value_of(b));
  if constexpr (std::is_arithmetic_v<B>) {
    return make_dual<decltype(y)>(y, b == 0 ? 0.0 * a.derivative : a.derivative * (b * pow(a.value, b - 1)));
  } else {
    auto by_base = [&](const auto& da) {
      return where(value_of(b) == 0.0, 0.0, da * (value_of(b) * pow(value_of(a), value_of(b) - 1.0)));
    };
    auto by_exponent = [&](const auto& db) {
      auto slope = db * (y * log(value_of(a)));
      return where(value_of(a) == 0.0, where(value_of(b) >= 0.0, 0.0, slope), slope);
    };
    if constexpr (is_dual<A> && is_dual<B>) {
      return make_dual<decltype(y)>(y, by_base(a.derivative) + by_exponent(b.derivative));
    } else if constexpr (is_dual<A>) {
      return make_dual<decltype(y)>(y, by_base(a.derivative));
    } else {
      return make_dual<decltype(y)>(y, by_exponent(b.derivative));
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
