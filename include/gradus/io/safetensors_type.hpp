// The element types of safetensors files, and their conversion to those of tensors.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "gradus/core/dtype.hpp"

namespace gradus::io::inline GRADUS_BUILD {

enum class NumberClass : uint8_t { floating, signed_integer, unsigned_integer, boolean };

/// An element type of the format, which knows more of them than Tensor does.
struct SafeTensorsType {
  std::string_view name;
  int bytes;
  NumberClass kind;
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

inline constexpr SafeTensorsType safetensors_types[] = {
    {"F32", 4, NumberClass::floating},         {"F64", 8, NumberClass::floating},
    {"BF16", 2, NumberClass::floating},        {"I64", 8, NumberClass::signed_integer},
    {"I32", 4, NumberClass::signed_integer},   {"U8", 1, NumberClass::unsigned_integer},
    {"BOOL", 1, NumberClass::boolean},         {"F16", 2, NumberClass::floating},
    {"I16", 2, NumberClass::signed_integer},   {"I8", 1, NumberClass::signed_integer},
    {"U16", 2, NumberClass::unsigned_integer}, {"U32", 4, NumberClass::unsigned_integer},
    {"U64", 8, NumberClass::unsigned_integer}};

/// The first eight stand in the order of DType.
inline const SafeTensorsType& safetensors_type(DType type) { return safetensors_types[static_cast<int>(type)]; }

/// Whether every value of `from` is one of `to`, but for rounding between floating types.
inline bool converts(const SafeTensorsType& from, const SafeTensorsType& to) {
  if (from.kind == to.kind) return from.kind == NumberClass::floating || from.bytes <= to.bytes;
  return from.kind == NumberClass::unsigned_integer && to.kind == NumberClass::signed_integer && from.bytes < to.bytes;
}

/// Elements as they are stored, as double or int64.
template <class Stored, class Wide>
void widen(const char* from, Wide* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    if constexpr (HalfWidth<Stored>) {
      to[i] = static_cast<float>(value);
    } else {
      to[i] = static_cast<Wide>(value);
    }
  }
}
/// Double or int64 as elements of a tensor, rounded to nearest.
template <class T, class Wide>
void narrow(const Wide* from, char* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) reinterpret_cast<T*>(to)[i] = static_cast<T>(from[i]);
}

/// Elements of two floating types without the way over double, compiled for speed: what models are mostly read as.
template <class To, class Stored>
[[gnu::noinline]] void round_elements(const char* from, char* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    reinterpret_cast<To*>(to)[i] = static_cast<To>(static_cast<float>(value));
  }
}

/// For types of which converts() is true.
GRADUS_COLD inline void convert_elements(const SafeTensorsType& stored, const char* from, DType dtype, char* to,
                                         int64_t count) {
  if (stored.name == "F32" && dtype == DType::bf16) return round_elements<bf16, float>(from, to, count);
  if (stored.name == "BF16" && dtype == DType::f32) return round_elements<float, bf16>(from, to, count);
  constexpr int64_t block = 512;
  for (int64_t done = 0, part; done < count; done += part, from += part * stored.bytes, to += part * size_of(dtype)) {
    part = std::min(block, count - done);
    if (stored.kind == NumberClass::floating) {
      double wide[block];
      if (stored.name == "F32") widen<float>(from, wide, part);
      else if (stored.name == "F64") widen<double>(from, wide, part);
      else if (stored.name == "BF16") widen<bf16>(from, wide, part);
      else widen<f16>(from, wide, part);
      if (dtype == DType::f32) narrow<float>(wide, to, part);
      else if (dtype == DType::f64) narrow<double>(wide, to, part);
      else if (dtype == DType::bf16) narrow<bf16>(wide, to, part);
      else narrow<f16>(wide, to, part);
    } else {
      int64_t wide[block];
      if (stored.name == "I32") widen<int32_t>(from, wide, part);
      else if (stored.name == "I16") widen<int16_t>(from, wide, part);
      else if (stored.name == "I8") widen<int8_t>(from, wide, part);
      else if (stored.name == "U32") widen<uint32_t>(from, wide, part);
      else if (stored.name == "U16") widen<uint16_t>(from, wide, part);
      else widen<uint8_t>(from, wide, part);
      if (dtype == DType::i64) narrow<int64_t>(wide, to, part);
      else narrow<int32_t>(wide, to, part);
    }
  }
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD
