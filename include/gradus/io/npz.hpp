// NumPy's archives of arrays, written; Weights reads them.
#pragma once

#include <array>
#include <type_traits>

#include "gradus/autograd/parameter.hpp"
#include "gradus/io/write_safetensors.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// The checksum of zip archives (ISO 3309).
inline uint32_t crc32(std::string_view bytes, uint32_t crc = 0) {
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      auto c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0xEDB88320u ^ c >> 1 : c >> 1;
      made[i] = c;
    }
    return made;
  }();
  crc = ~crc;
  for (auto c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ crc >> 8;
  return ~crc;
}

/// The header of a .npy file of version 1; as long as a multiple of 64.
inline std::string npy_header(DType dtype, const Shape& shape) {
  constexpr std::string_view types[] = {"<f4", "<f8", "", "<i8", "<i4", "|u1", "|b1", "<f2"};
  auto sizes = std::string("(");
  for (int i = 0; i < shape.rank(); ++i) sizes += join(shape[i], ", ");
  if (shape.rank() > 1) sizes.resize(sizes.size() - 2);
  else if (shape.rank() == 1) sizes.pop_back();
  auto text =
      join("{'descr': '", types[static_cast<int>(dtype)], "', 'fortran_order': False, 'shape': ", sizes, "), }");
  text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
  text += '\n';
  auto header = std::string("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

inline void put_number(std::string& to, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i, value >>= 8) to += static_cast<char>(value & 0xff);
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Writes named tensors as NumPy's .npz, not packed: `numpy.load(path)["name"]`. The file is there whole or not at all.
/// TypeError for bf16, which NumPy does not have; ValueError for names that appear twice and for more than 4 GB.
GRADUS_COLD inline void save_npz(const std::string& path, const std::vector<SafeTensorsEntry>& entries) {
  AtomicFile file(path);
  std::string directory;
  uint64_t at = 0;
  std::vector<std::string> seen;
  for (const auto& entry : entries) {
    require<TypeError>(entry.impl->dtype != DType::bf16, "save_npz: tensor '", entry.name,
                       "' holds bf16, which NumPy does not have; cast it");
    require<ValueError>(std::find(seen.begin(), seen.end(), entry.name) == seen.end(),
                        "save_npz: two tensors are called '", entry.name, "'");
    seen.push_back(entry.name);
    auto header = detail::npy_header(entry.impl->dtype, entry.impl->shape);
    std::string_view content(entry.impl->data(), static_cast<size_t>(entry.impl->numel * size_of(entry.impl->dtype)));
    auto size = header.size() + content.size(), name_size = entry.name.size() + 4;
    require<ValueError>(at + size < 0xfffffff0u && name_size < 65536 && entries.size() < 65535, "save_npz: ", path,
                        " would be larger than 4 GB; write safetensors");
    std::string common;
    detail::put_number(common, 20, 2);  // version needed
    detail::put_number(common, 0, 8);   // flags, method, time, date
    detail::put_number(common, detail::crc32(content, detail::crc32(header)), 4);
    detail::put_number(common, size, 4);
    detail::put_number(common, size, 4);
    detail::put_number(common, name_size, 2);
    detail::put_number(common, 0, 2);  // no extra field
    auto name = entry.name + ".npy";
    file.write(std::string("PK\3\4") + common + name + header);
    file.write(content);
    directory += std::string("PK\1\2\x14\0", 6) + common;
    detail::put_number(directory, 0, 10);  // no comment, first disk, attributes
    detail::put_number(directory, at, 4);
    directory += name;
    at += 30 + name_size + size;
  }
  auto count = entries.size();
  std::string end("PK\5\6\0\0\0\0", 8);
  detail::put_number(end, count, 2);
  detail::put_number(end, count, 2);
  detail::put_number(end, directory.size(), 4);
  detail::put_number(end, at, 4);
  detail::put_number(end, 0, 2);
  file.write(directory + end);
  file.commit();
}

/// The parameters and buffers of a model, under their paths.
template <class Model>
void save_npz(const std::string& path, const Model& model) {
  std::vector<SafeTensorsEntry> entries;
  for (auto& tensor : gradus::detail::model_tensors(model)) entries.emplace_back(tensor.name, std::move(tensor.impl));
  save_npz(path, entries);
}

}  // namespace gradus::io::inline GRADUS_BUILD
