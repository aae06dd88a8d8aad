// The safetensors format: a JSON header that names tensors, then their bytes. Reading executes nothing, and a
// file from outside is checked whole before any memory is taken for it.
#pragma once

#include <bit>
#include <map>
#include <vector>

#include "gradus/io/file.hpp"
#include "gradus/io/safetensors_header.hpp"
#include "gradus/tensor.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// An open safetensors file. Tensors are read when asked for, straight into their own memory.
class SafeTensors {
 public:
  /// Opens a file and checks its header. IoError when it cannot be read, FormatError when it is not what the format
  /// demands: sizes or offsets that do not fit, gaps, overlaps, names that appear twice, unknown types.
  GRADUS_COLD static SafeTensors read(const std::string& path) {
    SafeTensors file(path, detail::File::open(path));
    auto size = file.file_.size(path);
    require<FormatError>(size >= 8, "safetensors: ", path, ": the file has ", size,
                         " bytes, but starts with a length of 8");
    uint64_t length = 0;
    static_assert(std::endian::native == std::endian::little,
                  "safetensors are little-endian, and so must the machine be");
    file.file_.read(path, &length, 8, 0);
    require<FormatError>(length <= detail::max_safetensors_header, "safetensors: ", path, ": the header length is ",
                         length, ", but at most ", detail::max_safetensors_header, " is allowed");
    require<FormatError>(static_cast<int64_t>(length) <= size - 8, "safetensors: ", path, ": the header length is ",
                         length, ", but only ", size - 8, " bytes follow");
    std::string text(length, '\0');
    file.file_.read(path, text.data(), static_cast<int64_t>(length), 8);
    file.data_start_ = 8 + static_cast<int64_t>(length);
    try {
      file.header_ = parse_safetensors_header(text, static_cast<uint64_t>(size - file.data_start_));
    } catch (Error& error) {
      error.add_context("safetensors: " + path);
      throw;
    }
    return file;
  }

  const std::string& path() const { return path_; }
  /// Names of the tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, info] : header_.tensors) names.push_back(name);
    return names;
  }
  bool contains(const std::string& name) const { return header_.tensors.contains(name); }
  /// IndexError when there is no tensor of that name; so for all that follow.
  const SafeTensorInfo& info(const std::string& name) const {
    auto found = header_.tensors.find(name);
    require<IndexError>(found != header_.tensors.end(), "safetensors: ", path_, " has no tensor '", name, "'");
    return found->second;
  }
  /// The element type as the format calls it: "F32", "BF16", "I64" ...
  std::string_view dtype(const std::string& name) const { return info(name).dtype->name; }
  const Shape& shape(const std::string& name) const { return info(name).shape; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// Internal: whether read_as() would convert it.
  bool converts(const std::string& name, DType dtype) const {
    return detail::converts(*info(name).dtype, detail::safetensors_type(dtype));
  }

  /// The tensor as it was stored. TypeError when its elements are not T.
  template <Element T>
  Tensor<T> get(const std::string& name) const {
    const auto& dtype = *info(name).dtype;
    require<TypeError>(&dtype == &detail::safetensors_type(dtype_of<T>), "safetensors: ", path_, ": tensor '", name,
                       "' has elements of type ", dtype.name, ", not ", dtype_of<T>, "; get_as converts");
    return Tensor<T>(read_raw(name));
  }
  /// Internal: the tensor, of whatever type of the library's. TypeError for the format's other types.
  GRADUS_COLD gradus::detail::TensorRef read_raw(const std::string& name) const {
    const auto& tensor = info(name);
    auto dtype = tensor.dtype - detail::safetensors_types;
    require<TypeError>(dtype <= static_cast<int>(DType::f16), "safetensors: ", path_, ": tensor '", name,
                       "' has elements of type ", tensor.dtype->name, ", which tensors of this library do not have");
    auto result = gradus::detail::allocate_impl(static_cast<DType>(dtype), tensor.shape, Device::cpu());
    read_into(name, result->data());
    return result;
  }
  /// The tensor converted to T: between floating types (rounding to nearest), and from whole numbers to wider ones.
  /// TypeError for anything that could change the meaning of a value.
  template <Element T>
  Tensor<T> get_as(const std::string& name) const {
    return Tensor<T>(read_as(name, dtype_of<T>));
  }
  /// Internal: the same for a type known at run time.
  GRADUS_COLD gradus::detail::TensorRef read_as(const std::string& name, DType dtype) const {
    const auto& tensor = info(name);
    const auto& wanted = detail::safetensors_type(dtype);
    require<TypeError>(detail::converts(*tensor.dtype, wanted), "safetensors: ", path_, ": tensor '", name,
                       "' has elements of type ", tensor.dtype->name, ", which do not convert to ", dtype);
    if (tensor.dtype == &wanted) return read_raw(name);
    auto result = gradus::detail::allocate_impl(dtype, tensor.shape, Device::cpu());
    auto stored = int64_t{tensor.dtype->bytes};
    parallel_for(result->numel, part_bytes / stored, [&](int64_t first, int64_t last) {
      gradus::detail::Scratch<char> raw((last - first) * stored);
      file_.read(path_, raw.data(), (last - first) * stored, data_start_ + tensor.begin + first * stored);
      detail::convert_elements(*tensor.dtype, raw.data(), dtype, result->data() + first * wanted.bytes, last - first);
    });
    return result;
  }

 private:
  SafeTensors(std::string path, detail::File file) : path_(std::move(path)), file_(std::move(file)) {}

  static constexpr int64_t part_bytes = int64_t{1} << 18;  // what one thread reads at a time

  void read_into(const std::string& name, char* to) const {
    const auto& tensor = info(name);
    parallel_for(tensor.end - tensor.begin, part_bytes, [&](int64_t first, int64_t last) {
      file_.read(path_, to + first, last - first, data_start_ + tensor.begin + first);
    });
    if (tensor.dtype->name != "BOOL") return;
    const auto* bytes = reinterpret_cast<const unsigned char*>(to);
    for (int64_t i = 0; i < tensor.end - tensor.begin; ++i) {
      require<FormatError>(bytes[i] <= 1, "safetensors: ", path_, ": tensor '", name, "' is BOOL, but element ", i,
                           " is ", static_cast<int>(bytes[i]));
    }
  }

  std::string path_;
  detail::File file_;
  int64_t data_start_ = 0;
  SafeTensorsHeader header_;
};

}  // namespace gradus::io::inline GRADUS_BUILD
