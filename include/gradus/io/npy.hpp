// The array of one .npy file of NumPy's, or of a member of a .npz.
#pragma once

#include <charconv>

#include "gradus/io/weight_entry.hpp"
#include "gradus/io/zip_archive.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// The header of a .npy file: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
struct NpyHeader {
  const SafeTensorsType* type = nullptr;
  Shape shape;
  bool fortran = false;
  int64_t data = 0;  ///< where the elements begin
};

GRADUS_COLD inline NpyHeader parse_npy_header(std::string_view bytes, const std::string& source) {
  auto check = [&](bool holds, std::string_view text) { require<FormatError>(holds, source, ": ", text); };
  check(bytes.size() >= 12 && bytes.substr(0, 6) == "\x93NUMPY", "not NumPy's format");
  auto wide = bytes[6] >= 2;
  auto length = little_endian(bytes.data() + 8, wide ? 4 : 2), begin = uint64_t{wide ? 12u : 10u};
  check(length <= bytes.size() - begin, "the header of an array does not end");
  auto text = bytes.substr(begin, length);
  auto value_of = [&](std::string_view key) {
    auto at = text.find(join('\'', key, "':"));
    check(at != text.npos, join("the header of an array has no ", key));
    auto rest = text.substr(at + key.size() + 3);
    return rest.substr(std::min(rest.size(), rest.find_first_not_of(' ')));
  };
  NpyHeader header;
  header.data = static_cast<int64_t>(begin + length);
  auto descr = value_of("descr");
  static constexpr std::pair<std::string_view, std::string_view> types[] = {
      {"'<f4'", "F32"}, {"'<f8'", "F64"}, {"'<f2'", "F16"}, {"'<i8'", "I64"}, {"'<i4'", "I32"}, {"'<i2'", "I16"},
      {"'|i1'", "I8"},  {"'|u1'", "U8"},  {"'<u2'", "U16"}, {"'<u4'", "U32"}, {"'<u8'", "U64"}, {"'|b1'", "BOOL"}};
  for (const auto& [name, type] : types) {
    if (descr.starts_with(name)) header.type = type_named(type);
  }
  if (header.type == nullptr)
    check(false, join("an array of ", descr.substr(0, std::min<size_t>(descr.find(','), 20)),
                      "; numbers in little-endian order are read"));
  header.fortran = value_of("fortran_order").starts_with("True");
  auto shape = value_of("shape");
  check(shape.starts_with("("), "the shape of an array is no tuple");
  int64_t count = 1;
  for (size_t at = 1; at < shape.size() && shape[at] != ')';) {
    if (shape[at] == ' ' || shape[at] == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    auto [next, problem] = std::from_chars(shape.data() + at, shape.data() + shape.size(), size);
    check(problem == std::errc() && size >= 0 && header.shape.rank() < Shape::max_rank &&
              !__builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count),
          "the shape of an array is broken");
    header.shape.push_back(size);
    at = static_cast<size_t>(next - shape.data());
  }
  return header;
}

/// An array whose bytes are `whole`, or come from bytes(to, first, count).
GRADUS_COLD inline WeightEntry npy_entry(const NpyHeader& header, int64_t size, const std::string& source,
                                         std::function<void(void*, int64_t, int64_t)> bytes) {
  int64_t needed = 0;
  require<FormatError>(
      !__builtin_mul_overflow(header.shape.numel(), static_cast<int64_t>(header.type->bytes), &needed) &&
          needed == size - header.data,
      source, ": an array of shape ", header.shape, " and type ", header.type->name, " has ", size - header.data,
      " bytes");
  std::vector<int64_t> strides;
  auto rows = contiguous_strides(header.shape);
  int64_t step = 1;
  for (int i = 0; i < header.shape.rank(); ++i) {
    strides.push_back(header.fortran ? step : rows[i]);
    step *= header.shape[i];
  }
  return {header.type, header.shape, [header, strides, bytes = std::move(bytes)](DType dtype) {
            return read_strided(
                *header.type, header.shape, strides, 0,
                [&](void* to, int64_t first, int64_t count) { bytes(to, header.data + first, count); }, dtype);
          }};
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD
