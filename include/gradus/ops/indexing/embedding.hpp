#pragma once

#include <optional>

#include "gradus/ops/indexing/index_select.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::inline GRADUS_BUILD {

struct EmbeddingOptions {
  std::optional<int64_t> padding_idx = {};  ///< this row gets no gradient; a negative one counts from the end
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// padding_idx counted from the front, -1 when there is none.
inline int64_t padding_row(const char* op, const EmbeddingOptions& options, int64_t rows) {
  if (!options.padding_idx) return -1;
  auto row = *options.padding_idx;
  require<IndexError>(row >= -rows && row < rows, op, ": padding_idx is ", row, ", but weight has ", rows,
                      " rows: it must be in [", -rows, ", ", rows, ")");
  return row < 0 ? row + rows : row;
}

#if defined(GRADUS_CUDA)
/// ids (count,) on the weight's device; an id out of range is told when the host waits.
template <Floating T>
Tensor<T> embedding_on_card(const Tensor<int64_t>& ids, const Tensor<T>& weight, int64_t padding, const Shape& shape) {
  check_index_device("embedding", ids, weight.device());
  auto n = weight.size(0);
  auto dense = contiguous(weight.detach());
  auto y = Tensor<T>::empty({ids.numel(), weight.size(1)}, weight.device(), "embedding");  // (count, d)
  index_select_on_card("embedding", *dense.impl(), *ids.impl(), *y.impl(), n, weight.size(1), 0);
  auto targets = no_grad([&] { return padding < 0 ? ids : where(ids == padding, n, ids); });
  auto gradient = [targets, n, rows = padding < 0 ? n : n + 1](const Tensor<T>& dy) {
    return slice(index_add(dy, 0, targets, rows), 0, 0, n);  // (n, d)
  };
  return reshape(differentiable("embedding", y, wrt(weight, std::move(gradient))), shape);
}
#endif

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The rows of weight (n, d) that ids (...) in [0, n) name -> (..., d). As torch.nn.functional.embedding.
/// Throws IndexError for an id out of range.
template <Floating T>
Tensor<T> embedding(const Tensor<int64_t>& ids_in, const Tensor<T>& weight, const EmbeddingOptions& options = {}) {
  require<ShapeError>(weight.rank() == 2, "embedding: weight is ", weight.shape(), ", but must be (n, d)");
  auto n = weight.size(0), count = ids_in.numel();
  auto padding = detail::padding_row("embedding", options, n);
  auto shape = ids_in.shape();
  shape.push_back(weight.size(1));
  auto ids = reshape(ids_in.detach(), {count});
#if defined(GRADUS_CUDA)
  if (!weight.device().is_cpu()) return detail::embedding_on_card(ids, weight, padding, shape);
#endif
  // An id of padding adds its gradient to a row behind the others, which is cut off.
  auto targets = padding < 0 ? ids : Tensor<int64_t>::empty({count});
  auto* target = reinterpret_cast<int64_t*>(targets.impl()->data());
  for (int64_t i = 0; i < count; ++i) {
    auto id = ids.data()[i];
    require<IndexError>(id >= 0 && id < n, "embedding: id ", id, " at place ", i, " of ", count,
                        " is out of range: weight is ", weight.shape(), ", so ids must be in [0, ", n, ")");
    if (padding >= 0) target[i] = id == padding ? n : id;
  }
  auto y = index_select(weight.detach(), 0, ids);  // (count, d)
  auto gradient = [targets = saved(targets), n, rows = padding < 0 ? n : n + 1](const Tensor<T>& dy) {
    return slice(index_add(dy, 0, targets(), rows), 0, 0, n);  // (n, d)
  };
  return reshape(differentiable("embedding", y, wrt(weight, std::move(gradient))), shape);
}

}  // namespace gradus::inline GRADUS_BUILD
