// Tensors of files that are read when they are asked for.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "gradus/io/safetensors_type.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// A tensor in a file.
struct WeightEntry {
  const SafeTensorsType* type = nullptr;
  Shape shape;
  std::function<gradus::detail::TensorRef(DType)> read;  ///< converted; dense
};

/// Elements stored by bytes(to, first byte, count), `strides` apart in elements, as a dense tensor.
GRADUS_COLD inline gradus::detail::TensorRef read_strided(const SafeTensorsType& type, const Shape& shape,
                                                          const std::vector<int64_t>& strides, int64_t offset,
                                                          const std::function<void(void*, int64_t, int64_t)>& bytes,
                                                          DType dtype) {
  auto result = gradus::detail::allocate_impl(dtype, shape, Device::cpu());
  auto count = shape.numel();
  if (count == 0) return result;
  int64_t span = 1;
  for (int i = 0; i < shape.rank(); ++i) span += (shape[i] - 1) * strides[static_cast<size_t>(i)];
  std::string raw(static_cast<size_t>(span * type.bytes), '\0');
  bytes(raw.data(), offset * type.bytes, span * type.bytes);
  std::string dense;
  auto contiguous = contiguous_strides(shape);
  if (!std::equal(strides.begin(), strides.end(), contiguous.begin()) || span != count) {
    dense.resize(static_cast<size_t>(count * type.bytes));
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, from = 0;
      for (int axis = shape.rank(); axis-- > 0; rest /= shape[axis])
        from += rest % shape[axis] * strides[static_cast<size_t>(axis)];
      std::memcpy(dense.data() + i * type.bytes, raw.data() + from * type.bytes, static_cast<size_t>(type.bytes));
    }
    raw = std::move(dense);
  }
  if (&type == &safetensors_type(dtype)) std::memcpy(result->data(), raw.data(), raw.size());
  else convert_elements(type, raw.data(), dtype, result->data(), count);
  return result;
}

inline const SafeTensorsType* type_named(std::string_view name) {
  for (const auto& type : safetensors_types) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD
