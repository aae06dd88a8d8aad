// Writes safetensors files, in the order and with the padding of the format's own package.
#pragma once

#include <map>
#include <string_view>

#include "gradus/io/atomic_file.hpp"
#include "gradus/io/safetensors_header.hpp"
#include "gradus/tensor.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// A tensor of any element type and the name it gets in the file.
struct SafeTensorsEntry {
  template <Element T>
  SafeTensorsEntry(std::string tensor_name, const Tensor<T>& tensor)
      : SafeTensorsEntry(std::move(tensor_name), tensor.impl()) {}
  /// Internal.
  SafeTensorsEntry(std::string tensor_name, gradus::detail::TensorRef tensor)
      : name(std::move(tensor_name)), impl(std::move(tensor)) {
    if (impl->is_contiguous()) return;
    auto dense = gradus::detail::allocate_impl(impl->dtype, impl->shape, impl->storage->device());
    gradus::detail::copy_elements(*dense, *impl);
    impl = std::move(dense);
  }

  std::string name;
  gradus::detail::TensorRef impl;  ///< row-major, on any device

  /// The tensor itself, or a copy of one that is elsewhere.
  gradus::detail::TensorRef on_host() const {
    if (impl->storage->device().is_cpu()) return impl;
    auto copy = gradus::detail::allocate_impl(impl->dtype, impl->shape, Device::cpu());
    gradus::detail::copy_elements(*copy, *impl);
    return copy;
  }
};

/// Writes all entries into one file that is there whole or not at all. `metadata` is text for people and programs.
/// IoError when it cannot be written; ValueError for a name that appears twice or is reserved.
GRADUS_COLD inline void write_safetensors(const std::string& path, const std::vector<SafeTensorsEntry>& entries,
                                          const std::map<std::string, std::string>& metadata = {}) {
  auto entry_at = [&](int64_t i) -> const SafeTensorsEntry& { return entries[static_cast<size_t>(i)]; };
  auto by_name = gradus::detail::sorted_order(
      entries.size(), [&](int64_t a, int64_t b) { return entry_at(a).name < entry_at(b).name; });
  for (size_t i = 0; i < by_name.size(); ++i) {
    const auto& name = entry_at(by_name[i]).name;
    require<ValueError>(name != "__metadata__", "write_safetensors: a tensor must not be called '__metadata__'");
    require<ValueError>(i == 0 || entry_at(by_name[i - 1]).name != name, "write_safetensors: two tensors are called '",
                        name, "'");
  }
  // The package's order: wide elements first, so that every tensor starts at a multiple of its element's size.
  std::vector<int64_t> ordered;
  for (auto type :
       {DType::i64, DType::f64, DType::f32, DType::i32, DType::bf16, DType::f16, DType::u8, DType::boolean}) {
    for (auto i : by_name) {
      if (entry_at(i).impl->dtype == type) ordered.push_back(i);
    }
  }

  auto header = Json::object();
  if (!metadata.empty()) {
    Json texts;
    for (const auto& [key, value] : metadata) texts.append(key, value);
    header.append("__metadata__", std::move(texts));
  }
  int64_t offset = 0;
  auto bytes_of = [](const SafeTensorsEntry& entry) { return entry.impl->numel * size_of(entry.impl->dtype); };
  for (auto i : ordered) {
    const auto& entry = entry_at(i);
    auto sizes = Json::array();
    for (auto size : entry.impl->shape) sizes.push_back(size);
    header.append(entry.name, Json::object({{"dtype", detail::safetensors_type(entry.impl->dtype).name},
                                            {"shape", std::move(sizes)},
                                            {"data_offsets", Json::array({offset, offset + bytes_of(entry)})}}));
    offset += bytes_of(entry);
  }
  auto text = to_string(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  require<ValueError>(text.size() <= detail::max_safetensors_header, "write_safetensors: the names take ", text.size(),
                      " bytes, but at most ", detail::max_safetensors_header, " are allowed");

  AtomicFile file(path);
  auto length = static_cast<uint64_t>(text.size());
  file.write(&length, sizeof(length));
  file.write(text);
  for (auto i : ordered) file.write(entry_at(i).on_host()->data(), static_cast<size_t>(bytes_of(entry_at(i))));
  file.commit();
}

}  // namespace gradus::io::inline GRADUS_BUILD
