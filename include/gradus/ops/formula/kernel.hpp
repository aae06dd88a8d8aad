// The two CPU kernels that a formula gives: its value, and its gradient with respect to one operand.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "gradus/device/cpu/simd.hpp"
#include "gradus/device/cpu/simd_math.hpp"
#include "gradus/ops/formula/cpu_loop.hpp"
#include "gradus/ops/formula/dual.hpp"
#include "gradus/ops/formula/trace.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// The value type through which a formula sees an operand of element type E when it computes in C.
template <class C, class E>
using Lanes = std::conditional_t<std::is_same_v<E, bool>, Mask<C>, Simd<C>>;

template <class C, class E>
GRADUS_INLINE Lanes<C, E> load_lanes(const char* data, int64_t index) {
  auto* from = reinterpret_cast<const E*>(data) + index;
  if constexpr (std::is_same_v<E, bool>) {
    return Mask<C>::from_bools(from);
  } else {
    auto value = Simd<C>::load(from);
#if defined(__AVX512F__)
    // What is chosen by a condition would be read under its mask, and memory that is read so is not fetched ahead.
    for (auto& packet : value.p) asm("" : "+v"(packet));
#endif
    return value;
  }
}

/// What a formula F says about operand I's gradient: which operands it reads, and whether it is just dy.
template <class F, size_t I, size_t... K>
constexpr Trace trace_gradient(std::index_sequence<K...>) {
  constexpr auto operand = [](auto k) {
    if constexpr (k == I) return Dual<Trace>{Trace::operand(k), Trace::seed()};
    else return Trace::operand(k);
  };
  constexpr auto result = F{}(operand(std::integral_constant<int, static_cast<int>(K)>{})...);
  if constexpr (is_dual<std::remove_const_t<decltype(result)>>) return result.derivative;
  else return Trace(0);
}

/// The element type of a formula's result: bool for a comparison, else that of the operands.
template <class F, class T, class... E>
using FormulaResult =
    std::conditional_t<std::is_same_v<decltype(F{}(std::declval<Lanes<Compute<T>, E>>()...)), Mask<Compute<T>>>, bool,
                       T>;

template <class F, class T, class... E>
struct Kernels {
  using C = Compute<T>;
  using Out = FormulaResult<F, T, E...>;
  using Indices = std::index_sequence_for<E...>;

  static void forward(char* out, const char* const* in, const int64_t* steps, int64_t n) {
    forward(out, in, steps, n, Indices{});
  }
  /// in[0] is dy, in[1 + k] operand k; operands that the gradient does not read may be null.
  template <size_t I>
  static void gradient(char* out, const char* const* in, const int64_t* steps, int64_t n) {
    gradient<I>(out, in, steps, n, Indices{});
  }

 private:
  template <size_t... K>
  static GRADUS_INLINE void forward(char* out, const char* const* in, const int64_t* steps, int64_t n,
                                    std::index_sequence<K...>) {
    for (int64_t i = 0; i < n; i += simd_lanes) {
      auto y = F{}(load_lanes<C, E>(in[K], i * steps[K])...);
      Lanes<C, Out>(y).store(reinterpret_cast<Out*>(out) + i);
    }
  }

  template <size_t I, size_t... K>
  static GRADUS_INLINE void gradient(char* out, const char* const* in, const int64_t* steps, int64_t n,
                                     std::index_sequence<K...> all) {
    constexpr auto reads = trace_gradient<F, I>(all).operands;
    for (int64_t i = 0; i < n; i += simd_lanes) {
      auto operand = [&]<size_t J>(std::integral_constant<size_t, J>) GRADUS_INLINE_LAMBDA {
        using Element = std::tuple_element_t<J, std::tuple<E...>>;
        using Value = Lanes<C, Element>;
        auto value = [&]() GRADUS_INLINE_LAMBDA {
          if constexpr ((reads >> J & 1u) != 0) return load_lanes<C, Element>(in[1 + J], i * steps[1 + J]);
          else return Value{};
        }();
        if constexpr (J == I) return Dual<Simd<C>>{value, load_lanes<C, T>(in[0], i * steps[0])};
        else return value;
      };
      auto y = F{}(operand(std::integral_constant<size_t, K>{})...);
      Simd<C> derivative(0);  // of a formula that only compares the operand
      if constexpr (is_dual<decltype(y)>) derivative = y.derivative;
      derivative.store(reinterpret_cast<T*>(out) + i);
    }
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
