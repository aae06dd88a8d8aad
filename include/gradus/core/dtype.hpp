// Element types: float, double, bf16, f16, int64, int32, uint8, bool.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "gradus/core/config.hpp"

namespace gradus::inline GRADUS_STABLE {

/// Brain float: the upper half of a float (8 exponent bits, 7 mantissa bits). Stores; computes as float.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  /// Rounds to nearest even; NaN stays NaN.
  explicit bf16(float value) {
    auto word = std::bit_cast<uint32_t>(value);
    if (std::isnan(value)) {
      bits = static_cast<uint16_t>((word >> 16) | 0x40u);
    } else {
      bits = static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
    }
  }
  template <class N>
  requires(std::is_arithmetic_v<N> && !std::is_same_v<N, float>) explicit bf16(N value)
      : bf16(static_cast<float>(value)) {}

  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// IEEE half precision (5 exponent bits, 10 mantissa bits): up to 65504, steps of 2^-24 below 2^-14. Stores; computes
/// as float.
struct f16 {
  uint16_t bits = 0;

  f16() = default;
  /// Rounds to nearest even, from 65520 on to infinity; NaN stays NaN.
  explicit f16(float value) {
    auto word = std::bit_cast<uint32_t>(value), size = word & 0x7fffffffu;
    // Without branches, for loops in registers. Near 0.5, floats are 2^-24 apart, like f16 below 2^-14.
    auto small = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3f000000u;
    auto normal = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    auto special = size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x3ffu) : 0x7c00u;
    auto magnitude = size < 0x38800000u ? small : size < 0x477ff000u ? normal : special;
    bits = static_cast<uint16_t>((word >> 16 & 0x8000u) | magnitude);
  }
  template <class N>
  requires(std::is_arithmetic_v<N> && !std::is_same_v<N, float>) explicit f16(N value)
      : f16(static_cast<float>(value)) {}

  operator float() const {
    uint32_t size = bits & 0x7fffu;
    auto normal = (size << 13) + 0x38000000u;
    auto small = std::bit_cast<uint32_t>(std::bit_cast<float>(normal + 0x800000u) - 0x1p-14f);
    auto special = (normal + 0x38000000u) | (0x7c00u - size) >> 31 << 22;  // NaN becomes a quiet one
    // By masks: g++ 12 makes a loop of choices no faster.
    auto is_small = 0u - ((size - 0x400u) >> 31), is_special = 0u - ((0x7bffu - size) >> 31);
    auto magnitude = (small & is_small) | (special & is_special) | (normal & ~(is_small | is_special));
    return std::bit_cast<float>(static_cast<uint32_t>(bits & 0x8000u) << 16 | magnitude);
  }
};

enum class DType : uint8_t { f32, f64, bf16, i64, i32, u8, boolean, f16 };

inline std::string_view to_string(DType type) {
  constexpr std::string_view names[] = {"float", "double", "bf16", "int64", "int32", "uint8", "bool", "f16"};
  return names[static_cast<int>(type)];
}
inline int size_of(DType type) {
  constexpr int sizes[] = {4, 8, 2, 8, 4, 1, 1, 2};
  return sizes[static_cast<int>(type)];
}

/// Elements of two bytes, computed in float.
template <class T> concept HalfWidth = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;
template <class T> concept Floating = std::is_same_v<T, float> || std::is_same_v<T, double> || HalfWidth<T>;
template <class T>
concept Integer = std::is_same_v<T, int64_t> || std::is_same_v<T, int32_t> || std::is_same_v<T, uint8_t>;
template <class T> concept Element = Floating<T> || Integer<T> || std::is_same_v<T, bool>;
/// What has arithmetic: everything but bool.
template <class T> concept Numeric = Floating<T> || Integer<T>;

template <Element T>
inline constexpr DType dtype_of = [] {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  else if constexpr (std::is_same_v<T, double>) return DType::f64;
  else if constexpr (std::is_same_v<T, bf16>) return DType::bf16;
  else if constexpr (std::is_same_v<T, f16>) return DType::f16;
  else if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
  else if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  else if constexpr (std::is_same_v<T, uint8_t>) return DType::u8;
  else return DType::boolean;
}();

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::detail::inline GRADUS_STABLE {
template <class T>
struct ComputeType {
  using type = T;
};
template <HalfWidth T>
struct ComputeType<T> {
  using type = float;
};
template <>
struct ComputeType<uint8_t> {
  using type = int32_t;
};
template <>
struct ComputeType<bool> {
  using type = int32_t;
};

/// In the words of CUDA text and its prelude.
inline const char* cuda_name(DType type) {
  constexpr const char* names[] = {"float", "double", "bf16", "int64", "int", "unsigned char", "bool", "f16"};
  return names[static_cast<int>(type)];
}
}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_STABLE {

/// The type in which elements of T are computed: bf16 and f16 as float, small integers as int32.
template <Element T>
using Compute = typename detail::ComputeType<T>::type;

/// Where a search for the maximum starts: minus infinity, or the lowest integer.
template <Element T>
constexpr T lowest_value() {
  if constexpr (HalfWidth<T>) {
    return T(-std::numeric_limits<float>::infinity());
  } else if constexpr (Floating<T>) {
    return -std::numeric_limits<T>::infinity();
  } else {
    return std::numeric_limits<T>::lowest();
  }
}

}  // namespace gradus::inline GRADUS_STABLE
