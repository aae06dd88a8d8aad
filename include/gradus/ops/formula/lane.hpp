// Lane<C>: one element as a value of formulas, for tests. Arithmetic is the language's own; what Simd computes by
// polynomials runs through the same packet code, so that a formula gives the bits that it gives in a register.
#pragma once

#include "gradus/device/cpu/simd.hpp"
#include "gradus/device/cpu/simd_math.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What Mask<C> is to Simd<C>.
template <class C>
struct LaneMask {
  bool holds;

  LaneMask(bool value) : holds(value) {}
  friend LaneMask operator&&(LaneMask a, LaneMask b) { return a.holds && b.holds; }
  friend LaneMask operator||(LaneMask a, LaneMask b) { return a.holds || b.holds; }
  friend LaneMask operator!(LaneMask a) { return !a.holds; }
};

/// Operations are not inlined: no compiler may fuse the product of one with the sum of another.
template <class C>
struct Lane {
  C value;

  /// An element, or a literal of any type: converted to C.
  template <class N>
  requires std::is_arithmetic_v<N> Lane(N number) : value(static_cast<C>(number)) {}

  [[gnu::noinline]] friend Lane operator+(Lane a, Lane b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(Word(a.value) + Word(b.value));
    else return a.value + b.value;
  }
  [[gnu::noinline]] friend Lane operator-(Lane a, Lane b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(Word(a.value) - Word(b.value));
    else return a.value - b.value;
  }
  [[gnu::noinline]] friend Lane operator*(Lane a, Lane b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(Word(a.value) * Word(b.value));
    else return a.value * b.value;
  }
  [[gnu::noinline]] friend Lane operator/(Lane a, Lane b) {
    if constexpr (!std::is_integral_v<C>) return a.value / b.value;
    else if (b.value == 0) return C(0);
    else if (b.value == -1) return -a;
    else return a.value / b.value;
  }
  [[gnu::noinline]] friend Lane operator-(Lane a) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(-Word(a.value));
    else return -a.value;
  }

  friend LaneMask<C> operator<(Lane a, Lane b) { return a.value < b.value; }
  friend LaneMask<C> operator<=(Lane a, Lane b) { return a.value <= b.value; }
  friend LaneMask<C> operator>(Lane a, Lane b) { return a.value > b.value; }
  friend LaneMask<C> operator>=(Lane a, Lane b) { return a.value >= b.value; }
  friend LaneMask<C> operator==(Lane a, Lane b) { return a.value == b.value; }
  friend LaneMask<C> operator!=(Lane a, Lane b) { return a.value != b.value; }

  friend Lane maximum(Lane a, Lane b) { return a.value > b.value || a.value != a.value ? a : b; }
  friend Lane minimum(Lane a, Lane b) { return a.value < b.value || a.value != a.value ? a : b; }

  [[gnu::noinline]] friend Lane pow(Lane a, Lane b) { return pow(a.packet(), b.packet()).lane(0); }
  [[gnu::noinline]] friend Lane exp(Lane a) { return exp(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane expm1(Lane a) { return expm1(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane log(Lane a) { return log(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane log1p(Lane a) { return log1p(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane log1p_of_exp(Lane a) { return log1p_of_exp(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane tanh(Lane a) { return tanh(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane sigmoid(Lane a) { return sigmoid(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane erf(Lane a) { return erf(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane normal_cdf(Lane a) { return normal_cdf(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane sin(Lane a) { return sin(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane cos(Lane a) { return cos(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane sqrt(Lane a) { return sqrt(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane abs(Lane a) { return abs(a.packet()).lane(0); }
  [[gnu::noinline]] friend Lane floor(Lane a) { return floor(a.packet()).lane(0); }

 private:
  using Word = std::make_unsigned_t<Bits<C>>;  // whole numbers wrap
  Simd<C> packet() const { return Simd<C>(value); }
};

/// a where the condition holds, else b; either may be a number.
template <class C>
Lane<C> where(LaneMask<C> condition, std::type_identity_t<Lane<C>> a, std::type_identity_t<Lane<C>> b) {
  return condition.holds ? a : b;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
