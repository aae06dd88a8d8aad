// A value type that computes nothing but remembers, at compile time, which operands an expression reads.
// Run through Dual, it tells what a gradient needs: addition saves nothing, multiplication the other factor.
#pragma once

#include <cstdint>
#include <type_traits>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

struct Trace {
  uint32_t operands = 0;  ///< bit i: operand i is read
  bool is_seed = false;   ///< exactly the incoming gradient, unchanged

  constexpr Trace() = default;
  constexpr Trace(uint32_t bits, bool seed) : operands(bits), is_seed(seed) {}
  /// A literal reads nothing.
  template <class N>
  requires std::is_arithmetic_v<N>
  constexpr Trace(N) {}

  static constexpr Trace operand(int i) { return {1u << i, false}; }
  static constexpr Trace seed() { return {0, true}; }
  template <class... A>
  static constexpr Trace of(const A&... parts) {
    return {(parts.operands | ...), false};
  }

  friend constexpr Trace operator+(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator-(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator*(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator/(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator-(const Trace& a) { return of(a); }
  friend constexpr Trace operator<(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator<=(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator>(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator>=(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator==(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator!=(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator&&(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator||(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace operator!(const Trace& a) { return of(a); }
  friend constexpr Trace where(const Trace& c, const Trace& a, const Trace& b) { return of(c, a, b); }
  friend constexpr Trace maximum(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace minimum(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace pow(const Trace& a, const Trace& b) { return of(a, b); }
  friend constexpr Trace exp(const Trace& a) { return of(a); }
  friend constexpr Trace expm1(const Trace& a) { return of(a); }
  friend constexpr Trace log(const Trace& a) { return of(a); }
  friend constexpr Trace log1p(const Trace& a) { return of(a); }
  friend constexpr Trace tanh(const Trace& a) { return of(a); }
  friend constexpr Trace sigmoid(const Trace& a) { return of(a); }
  friend constexpr Trace erf(const Trace& a) { return of(a); }
  friend constexpr Trace sin(const Trace& a) { return of(a); }
  friend constexpr Trace cos(const Trace& a) { return of(a); }
  friend constexpr Trace sqrt(const Trace& a) { return of(a); }
  friend constexpr Trace abs(const Trace& a) { return of(a); }
  friend constexpr Trace floor(const Trace& a) { return of(a); }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
