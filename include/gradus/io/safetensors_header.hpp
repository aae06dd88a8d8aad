// The header of a safetensors file, and the checks that every offset must pass.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gradus/core/shape.hpp"
#include "gradus/io/json_reader.hpp"
#include "gradus/io/safetensors_type.hpp"

namespace gradus::io::inline GRADUS_BUILD {

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

GRADUS_COLD inline SafeTensorInfo parse_tensor_info(const Json& entry) {
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
GRADUS_COLD inline void check_layout(const SafeTensorsHeader& header, uint64_t data_bytes) {
  std::vector<std::string> names;
  std::vector<int64_t> begins, ends;
  for (const auto& [name, info] : header.tensors) {
    names.push_back(name);
    begins.push_back(info.begin);
    ends.push_back(info.end);
  }
  auto at = [](const auto& list, int64_t i) -> const auto& { return list[static_cast<size_t>(i)]; };
  auto order = gradus::detail::sorted_order(names.size(), [&](int64_t a, int64_t b) {
    return at(begins, a) != at(begins, b) ? at(begins, a) < at(begins, b) : at(ends, a) < at(ends, b);
  });
  int64_t end = 0;
  for (auto i : order) {
    const auto& name = at(names, i);
    auto begin = at(begins, i);
    require<FormatError>(begin == end, "tensor '", name, "' begins at byte ", begin, ", but the data before it ",
                         "ends at ", end, ": there must be no ", begin < end ? "overlap" : "gap");
    end = at(ends, i);
    require<FormatError>(static_cast<uint64_t>(end) <= data_bytes, "tensor '", name, "' ends at byte ", end,
                         ", but the file has only ", data_bytes, " bytes of data");
  }
  require<FormatError>(static_cast<uint64_t>(end) == data_bytes, "the file has ", data_bytes,
                       " bytes of data, but its tensors end at ", end);
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Checks and reads the header of a file whose tensors take `data_bytes` bytes. FormatError that names the tensor and
/// the rule it breaks.
GRADUS_COLD inline SafeTensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes) {
  require<FormatError>(text.starts_with('{'), "the header does not start with '{'");
  auto json = parse_json(text);
  SafeTensorsHeader header;
  for (size_t i = 0; i < json.keys().size(); ++i) {
    const auto& name = json.keys()[i];
    const auto& entry = json.values()[i];
    try {
      if (name == "__metadata__") {
        for (size_t k = 0; k < entry.keys().size(); ++k)
          header.metadata[entry.keys()[k]] = entry.values()[k].as_string();
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
