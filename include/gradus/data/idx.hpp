// The IDX format of MNIST and its successors: a type, sizes, then elements; big-endian, often packed with gzip.
#pragma once

#include <bit>

#include "gradus/data/byte_source.hpp"
#include "gradus/tensor.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// The element type that an IDX file declares.
enum class IdxType : uint8_t { u8 = 0x08, i8 = 0x09, i16 = 0x0b, i32 = 0x0c, f32 = 0x0d, f64 = 0x0e };

struct IdxHeader {
  IdxType type{};
  Shape shape;
  int64_t element_bytes = 0;
};

inline std::string_view to_string(IdxType type) {
  switch (type) {
    case IdxType::u8:
      return "uint8";
    case IdxType::i8:
      return "int8";
    case IdxType::i16:
      return "int16";
    case IdxType::i32:
      return "int32";
    case IdxType::f32:
      return "float";
    case IdxType::f64:
      return "double";
  }
  return "";
}

GRADUS_COLD inline IdxHeader read_idx_header(ByteSource& source, const std::string& path) {
  unsigned char magic[4] = {};
  auto count = source.read(magic, 4);
  require<FormatError>(count == 4 && magic[0] == 0 && magic[1] == 0, "read_idx: ", path,
                       " is not an IDX file: it does not start with two zero bytes, a type and a number of sizes");
  IdxHeader header;
  header.type = static_cast<IdxType>(magic[2]);
  require<FormatError>(!to_string(header.type).empty(), "read_idx: ", path, ": unknown element type ",
                       static_cast<int>(magic[2]), "; known are 8, 9, 11, 12, 13 and 14");
  require<FormatError>(magic[3] <= Shape::max_rank, "read_idx: ", path, " has ", static_cast<int>(magic[3]),
                       " sizes, but a tensor has at most ", Shape::max_rank);
  for (int axis = 0; axis < magic[3]; ++axis) {
    unsigned char size[4] = {};
    require<FormatError>(source.read(size, 4) == 4, "read_idx: ", path, " ends within its header");
    header.shape.push_back(int64_t{size[0]} << 24 | size[1] << 16 | size[2] << 8 | size[3]);
  }
  constexpr auto wide = [](IdxType type) { return type == IdxType::f64 ? 8 : type == IdxType::i16 ? 2 : 4; };
  header.element_bytes = header.type == IdxType::u8 || header.type == IdxType::i8 ? 1 : wide(header.type);
  auto bytes = header.element_bytes;
  bool overflow = false, empty = false;
  for (auto size : header.shape) {
    empty |= size == 0;
    overflow |= __builtin_mul_overflow(bytes, size, &bytes);
  }
  require<FormatError>(empty || (!overflow && bytes <= source.most_bytes()), "read_idx: ", path, " says it holds ",
                       header.shape, " elements of ", header.type, ", more than its file can hold");
  return header;
}

/// Turns big-endian elements into the machine's order, in place.
template <class Stored>
void from_big_endian(Stored* elements, int64_t count) {
  if constexpr (sizeof(Stored) > 1 && std::endian::native == std::endian::little) {
    for (int64_t i = 0; i < count; ++i) {
      auto* bytes = reinterpret_cast<char*>(elements + i);
      std::reverse(bytes, bytes + sizeof(Stored));
    }
  }
}

/// Whether every value of From is one of To, but for rounding between floating types.
template <class From, class To>
inline constexpr bool idx_converts = std::is_floating_point_v<From> ? Floating<To>
                                                                    : Integer<To>&& std::is_same_v<From, To> ||
                                                                          (Integer<To> && sizeof(From) < sizeof(To));

template <class Stored, Element T>
Tensor<T> read_idx_elements(ByteSource& source, const std::string& path, const IdxHeader& header) {
  if constexpr (idx_converts<Stored, T>) {
    auto result = Tensor<T>::empty(header.shape);
    auto* to = result.mutable_data();
    auto read = [&](void* target, int64_t count) {
      auto bytes = source.read(target, count * header.element_bytes);
      require<FormatError>(bytes == count * header.element_bytes, "read_idx: ", path, " ends before its ", header.shape,
                           " elements do");
      from_big_endian(static_cast<Stored*>(target), count);
    };
    if constexpr (std::is_same_v<Stored, T>) {
      read(to, result.numel());
    } else {
      auto raw = std::make_unique<Stored[]>(static_cast<size_t>(result.numel()));
      read(raw.get(), result.numel());
      std::transform(raw.get(), raw.get() + result.numel(), to, [](Stored value) { return static_cast<T>(value); });
    }
    char more = 0;
    require<FormatError>(source.read(&more, 1) == 0, "read_idx: ", path, " goes on after its ", header.shape,
                         " elements");
    return result;
  } else {
    gradus::detail::fail<TypeError>(
        {"read_idx: ", path, " holds elements of ", header.type, ", which do not convert to ", dtype_of<T>});
  }
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

/// The tensor in an IDX file, packed with gzip or not. Whole numbers convert to wider ones, floating types to each
/// other; TypeError otherwise. FormatError for a file that is not IDX, too short, too long or lies about its sizes;
/// IoError when it cannot be read, or is packed and the program was built without zlib.
template <Element T>
Tensor<T> read_idx(const std::string& path) {
  detail::ByteSource source(path);
  auto header = detail::read_idx_header(source, path);
  switch (header.type) {
    case detail::IdxType::u8:
      return detail::read_idx_elements<uint8_t, T>(source, path, header);
    case detail::IdxType::i8:
      return detail::read_idx_elements<int8_t, T>(source, path, header);
    case detail::IdxType::i16:
      return detail::read_idx_elements<int16_t, T>(source, path, header);
    case detail::IdxType::i32:
      return detail::read_idx_elements<int32_t, T>(source, path, header);
    case detail::IdxType::f32:
      return detail::read_idx_elements<float, T>(source, path, header);
    default:
      return detail::read_idx_elements<double, T>(source, path, header);
  }
}

}  // namespace gradus::data::inline GRADUS_BUILD
