#pragma once

#include "gradus/ops/indexing/cat.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Joins tensors of one shape along a new axis. As torch.stack.
template <Element T>
Tensor<T> stack(const std::vector<Tensor<T>>& parts, int64_t axis = 0) {
  require<ValueError>(!parts.empty(), "stack: nothing to join");
  std::vector<Tensor<T>> wide;
  wide.reserve(parts.size());
  for (const auto& part : parts) {
    require<ShapeError>(part.shape() == parts[0].shape(), "stack: ", parts[0].shape(), " and ", part.shape(),
                        " must be equal");
    wide.push_back(unsqueeze(part, axis));
  }
  return cat(wide, axis);
}

}  // namespace gradus::inline GRADUS_BUILD
