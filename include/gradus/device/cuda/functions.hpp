// The mathematics of formulas as CUDA C++ text, with the CPU's values at NaN and infinities, and at zeros but for their
// sign in maximum and minimum. It follows the prelude in every program.
#pragma once

#include <string_view>

#include "gradus/core/dtype.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_functions = R"cuda(
namespace gradus {

// Whole numbers wrap; a quotient is cut towards 0, and x / 0 is 0.
GRADUS_DEVICE int add(int a, int b) { return static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); }
GRADUS_DEVICE int subtract(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a) - static_cast<unsigned>(b));
}
GRADUS_DEVICE int multiply(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a) * static_cast<unsigned>(b));
}
GRADUS_DEVICE int64 add(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) + static_cast<unsigned long long>(b));
}
GRADUS_DEVICE int64 subtract(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) - static_cast<unsigned long long>(b));
}
GRADUS_DEVICE int64 multiply(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) * static_cast<unsigned long long>(b));
}
template <class I>
GRADUS_DEVICE I negate(I a) {
  return subtract(I(0), a);
}
template <class I>
GRADUS_DEVICE I divide(I a, I b) {
  return b == 0 ? I(0) : b == -1 ? negate(a) : a / b;
}
GRADUS_DEVICE int abs(int a) { return a < 0 ? negate(a) : a; }
GRADUS_DEVICE int64 abs(int64 a) { return a < 0 ? negate(a) : a; }

// The larger or smaller of two whole numbers; of two others, NaN if either is.
GRADUS_DEVICE int maximum(int a, int b) { return a > b ? a : b; }
GRADUS_DEVICE int64 maximum(int64 a, int64 b) { return a > b ? a : b; }
GRADUS_DEVICE float maximum(float a, float b) {
#ifdef __CUDA_ARCH__
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
#else
  return a > b || a != a ? a : b;
#endif
}
GRADUS_DEVICE double maximum(double a, double b) { return a > b || a != a ? a : b; }
GRADUS_DEVICE int minimum(int a, int b) { return a < b ? a : b; }
GRADUS_DEVICE int64 minimum(int64 a, int64 b) { return a < b ? a : b; }
GRADUS_DEVICE float minimum(float a, float b) {
#ifdef __CUDA_ARCH__
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
#else
  return a < b || a != a ? a : b;
#endif
}
GRADUS_DEVICE double minimum(double a, double b) { return a < b || a != a ? a : b; }

// A rectifier leaves what lies between low and high, and NaN; z is what it is given. passed: what dy passes back.
template <class C>
GRADUS_DEVICE C rectified(C z, C low, C high) {
  return minimum(maximum(z, low), high);
}
template <class C>
GRADUS_DEVICE C passed(C dy, C z, C low, C high) {
  return z <= low || z >= high ? C(0) : dy;
}

GRADUS_DEVICE float from_infinity(float) { return from_bits(0x7f800000u); }
GRADUS_DEVICE double from_infinity(double) { return from_bits(0x7ff0000000000000ull); }

GRADUS_DEVICE float abs(float x) { return ::fabsf(x); }
GRADUS_DEVICE double abs(double x) { return ::fabs(x); }
GRADUS_DEVICE float floor(float x) { return ::floorf(x); }
GRADUS_DEVICE double floor(double x) { return ::floor(x); }
GRADUS_DEVICE float sqrt(float x) { return ::sqrtf(x); }
GRADUS_DEVICE double sqrt(double x) { return ::sqrt(x); }
GRADUS_DEVICE float exp(float x) { return ::expf(x); }
GRADUS_DEVICE double exp(double x) { return ::exp(x); }
GRADUS_DEVICE float expm1(float x) { return ::expm1f(x); }
GRADUS_DEVICE double expm1(double x) { return ::expm1(x); }
GRADUS_DEVICE float log(float x) { return ::logf(x); }
GRADUS_DEVICE double log(double x) { return ::log(x); }
GRADUS_DEVICE float log1p(float x) { return ::log1pf(x); }
GRADUS_DEVICE double log1p(double x) { return ::log1p(x); }
GRADUS_DEVICE float tanh(float x) { return ::tanhf(x); }
GRADUS_DEVICE double tanh(double x) { return ::tanh(x); }
// Of a number that is not below 1; the last bit may be off.
GRADUS_DEVICE float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}
GRADUS_DEVICE float sigmoid(float x) { return reciprocal(::expf(-x) + 1.0f); }
GRADUS_DEVICE double sigmoid(double x) { return 1.0 / (::exp(-x) + 1.0); }
GRADUS_DEVICE float erf(float x) { return ::erff(x); }
GRADUS_DEVICE double erf(double x) { return ::erf(x); }
GRADUS_DEVICE float normal_cdf(float x) { return 0.5f * (1.0f + ::erff(0.70710678f * x)); }
GRADUS_DEVICE double normal_cdf(double x) { return 0.5 * (1.0 + ::erf(0.7071067811865476 * x)); }
GRADUS_DEVICE float sin(float x) { return ::sinf(x); }
GRADUS_DEVICE double sin(double x) { return ::sin(x); }
GRADUS_DEVICE float cos(float x) { return ::cosf(x); }
GRADUS_DEVICE double cos(double x) { return ::cos(x); }
GRADUS_DEVICE float pow(float x, float y) { return ::powf(x, y); }
GRADUS_DEVICE double pow(double x, double y) { return ::pow(x, y); }

// For kernels of bf16, whose texts are compiled in this namespace: an exponential is one instruction in place of ten, off
// by 2^-18 of a normal result at most, where a bf16 rounds by 2^-9.
namespace in_bf16 {

GRADUS_DEVICE float exp(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
  return y;
#else
  return ::expf(x);
#endif
}
GRADUS_DEVICE float sigmoid(float x) { return reciprocal(exp(-x) + 1.0f); }
// Abramowitz and Stegun, 7.1.26, of which the smaller side is taken, so that nothing cancels far below zero.
GRADUS_DEVICE float normal_cdf(float x) {
#ifdef __CUDA_ARCH__
  const float t = reciprocal(0.23164189f * abs(x) + 1.0f), e = exp(-0.5f * (x * x));
  const float smaller =
      ((((0.53070271f * t - 0.72657601f) * t + 0.71070687f) * t - 0.14224837f) * t + 0.12741480f) * t * e;
  return x < 0.0f ? smaller : 1.0f - smaller;
#else
  return gradus::normal_cdf(x);
#endif
}

}  // namespace in_bf16

}  // namespace gradus
)cuda";

/// The namespace in which the text of kernels of elements of `type` is compiled.
inline const char* cuda_namespace(DType type) { return type == DType::bf16 ? "gradus::in_bf16" : "gradus"; }

}  // namespace gradus::detail::inline GRADUS_BUILD
