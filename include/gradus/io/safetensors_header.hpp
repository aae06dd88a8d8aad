// The header of a safetensors file: element types, and the checks that every offset must pass.
#pragma once

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <vector>

#include "gradus/core/dtype.hpp"
#include "gradus/core/shape.hpp"
#include "gradus/io/json_reader.hpp"

namespace gradus::io::inline GRADUS_BUILD {

enum class NumberClass : uint8_t { floating, signed_integer, unsigned_integer, boolean };

/// An element type of the format, which knows more of them than Tensor does.
struct SafeTensorsType {
  std::string_view name;
  int bytes;
  NumberClass kind;
};

/// One tensor of a file. Its bytes are [begin, end), counted from the end of the header.
struct SafeTensorInfo {
  const SafeTensorsType* dtype = nullptr;
  Shape shape;
  int64_t begin = 0, end = 0;
};

struct SafeTensorsHeader {
  std::map<std::string, SafeTensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

inline constexpr uint64_t max_safetensors_header = 100'000'000;  // as the format's own library has it

inline constexpr SafeTensorsType safetensors_types[] = {
    {"F32", 4, NumberClass::floating},         {"F64", 8, NumberClass::floating},
    {"BF16", 2, NumberClass::floating},        {"I64", 8, NumberClass::signed_integer},
    {"I32", 4, NumberClass::signed_integer},   {"U8", 1, NumberClass::unsigned_integer},
    {"BOOL", 1, NumberClass::boolean},         {"F16", 2, NumberClass::floating},
    {"I16", 2, NumberClass::signed_integer},   {"I8", 1, NumberClass::signed_integer},
    {"U16", 2, NumberClass::unsigned_integer}, {"U32", 4, NumberClass::unsigned_integer},
    {"U64", 8, NumberClass::unsigned_integer}};

/// The first seven stand in the order of DType.
inline const SafeTensorsType& safetensors_type(DType type) { return safetensors_types[static_cast<int>(type)]; }
template <Element T>
const SafeTensorsType& safetensors_type_of() {
  return safetensors_type(dtype_of<T>);
}

/// IEEE half precision, which Gradus only reads.
struct Half {
  uint16_t bits;

  explicit operator float() const {
    auto sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    auto exponent = static_cast<uint32_t>(bits >> 10 & 0x1fu), fraction = static_cast<uint32_t>(bits & 0x3ffu);
    if (exponent == 0) {  // zero or subnormal
      auto magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return sign != 0 ? -magnitude : magnitude;
    }
    auto widened = exponent == 31 ? 255u : exponent + 112u;
    return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
  }
};

/// Whether every value of `from` is one of `to`, but for rounding between floating types.
inline bool converts(const SafeTensorsType& from, const SafeTensorsType& to) {
  if (from.kind == to.kind) return from.kind == NumberClass::floating || from.bytes <= to.bytes;
  return from.kind == NumberClass::unsigned_integer && to.kind == NumberClass::signed_integer && from.bytes < to.bytes;
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<From, Half> || std::is_same_v<From, bf16>) {
    return static_cast<To>(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

/// Calls f with a value of the C++ type in which elements of `type` are stored.
template <class F>
auto with_stored_type(const SafeTensorsType& type, F&& f) {
  if (type.name == "F32") return f(float{});
  if (type.name == "F64") return f(double{});
  if (type.name == "BF16") return f(bf16{});
  if (type.name == "F16") return f(Half{});
  if (type.name == "I64") return f(int64_t{});
  if (type.name == "I32") return f(int32_t{});
  if (type.name == "I16") return f(int16_t{});
  if (type.name == "I8") return f(int8_t{});
  if (type.name == "U64") return f(uint64_t{});
  if (type.name == "U32") return f(uint32_t{});
  if (type.name == "U16") return f(uint16_t{});
  if (type.name == "U8") return f(uint8_t{});
  return f(bool{});
}

inline SafeTensorInfo parse_tensor_info(const Json& entry) {
  SafeTensorInfo info;
  const auto& name = entry.at("dtype").as_string();
  for (const auto& type : safetensors_types) {
    if (type.name == name) info.dtype = &type;
  }
  require<FormatError>(info.dtype != nullptr, "unknown dtype '", name, "'");
  const auto& sizes = entry.at("shape").as_array();
  require<FormatError>(sizes.size() <= Shape::max_rank, "the shape has ", sizes.size(),
                       " sizes, but a tensor has at most ", Shape::max_rank);
  int64_t bytes = info.dtype->bytes;
  bool overflow = false, empty = false;
  for (const auto& size : sizes) {
    require<FormatError>(size.as_int() >= 0, "the shape has a negative size, ", size.as_int());
    info.shape.push_back(size.as_int());
    empty |= size.as_int() == 0;
    overflow |= __builtin_mul_overflow(bytes, size.as_int(), &bytes);
  }
  require<FormatError>(!overflow || empty, "shape ", info.shape, " of ", name,
                       " has more bytes than 63 bits can count");
  if (empty) bytes = 0;
  const auto& offsets = entry.at("data_offsets").as_array();
  require<FormatError>(offsets.size() == 2, "data_offsets has ", offsets.size(), " numbers, but must have 2");
  info.begin = offsets[0].as_int();
  info.end = offsets[1].as_int();
  require<FormatError>(info.begin >= 0 && info.begin <= info.end, "data_offsets [", info.begin, ", ", info.end,
                       "] are not a range");
  require<FormatError>(info.end - info.begin == bytes, "data_offsets [", info.begin, ", ", info.end, "] hold ",
                       info.end - info.begin, " bytes, but shape ", info.shape, " of ", name, " has ", bytes);
  return info;
}

/// The bytes of the tensors must follow each other without gaps and fill the data exactly.
inline void check_layout(const SafeTensorsHeader& header, uint64_t data_bytes) {
  using Item = std::map<std::string, SafeTensorInfo>::value_type;
  std::vector<const Item*> order;
  for (const auto& item : header.tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  int64_t end = 0;
  for (const auto* item : order) {
    const auto& [name, info] = *item;
    require<FormatError>(info.begin == end, "tensor '", name, "' begins at byte ", info.begin,
                         ", but the data before it ", "ends at ", end, ": there must be no ",
                         info.begin < end ? "overlap" : "gap");
    require<FormatError>(static_cast<uint64_t>(info.end) <= data_bytes, "tensor '", name, "' ends at byte ", info.end,
                         ", but the file has only ", data_bytes, " bytes of data");
    end = info.end;
  }
  require<FormatError>(static_cast<uint64_t>(end) == data_bytes, "the file has ", data_bytes,
                       " bytes of data, but its tensors end at ", end);
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Checks and reads the header of a file whose tensors take `data_bytes` bytes. FormatError that names the tensor and
/// the rule it breaks.
inline SafeTensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes) {
  require<FormatError>(text.starts_with('{'), "the header does not start with '{'");
  auto json = parse_json(text);
  SafeTensorsHeader header;
  for (const auto& [name, entry] : json.as_object()) {
    try {
      if (name == "__metadata__") {
        for (const auto& [key, value] : entry.as_object()) header.metadata[key] = value.as_string();
      } else {
        header.tensors[name] = detail::parse_tensor_info(entry);
      }
    } catch (Error& error) {
      error.add_context("'" + name + "'");
      throw;
    }
  }
  detail::check_layout(header, data_bytes);
  return header;
}

}  // namespace gradus::io::inline GRADUS_BUILD
