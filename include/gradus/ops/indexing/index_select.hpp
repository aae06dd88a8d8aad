// Whole slices by index, and its gradient.
#pragma once

#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/indexing/indexing_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T> index_select(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index);
template <Floating T>
Tensor<T> index_add(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index, int64_t size);

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// A dense tensor as (outer, size of the axis, inner).
struct AxisSplit {
  int64_t outer = 1, size, inner = 1;
  AxisSplit(const Shape& shape, int axis) : size(shape[axis]) {
    for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape[i];
  }
};

inline void check_index_shape(const char* op, const Tensor<int64_t>& index) {
  require<ShapeError>(index.rank() == 1, op, ": index is ", index.shape(), ", but must be (count,)");
}
inline void check_index_device(const char* op, const Tensor<int64_t>& index, Device device) {
  require_device(op, device, index);
}

inline std::vector<int64_t> checked_positions(const char* op, const Tensor<int64_t>& index, int64_t size, int64_t axis,
                                              const Shape& shape) {
  check_index_shape(op, index);
  auto positions = index.to_vector();
  for (auto& position : positions) {
    require<IndexError>(position >= -size && position < size, op, ": index ", position, " is out of range for axis ",
                        axis, " of shape ", shape);
    if (position < 0) position += size;
  }
  return positions;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The slices of x along `axis` whose positions stand in `index` (count,); negative ones count from the end. As
/// torch.index_select. Throws IndexError for a position out of range.
template <Element T>
Tensor<T> index_select(const Tensor<T>& x_in, int64_t axis, const Tensor<int64_t>& index) {
  auto a = normalize_axis("index_select", axis, x_in.rank());
  auto x = contiguous(x_in);
  detail::AxisSplit split(x.shape(), a);
  auto shape = x.shape();
  auto count = shape[a] = index.numel();
  auto y = Tensor<T>::empty(shape, x.device(), "index_select");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto rows = split.outer * count;
  std::vector<int64_t> positions;
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::check_index_shape("index_select", index);
    detail::check_index_device("index_select", index, x.device());
    detail::index_select_on_card("index_select", *x.impl(), *contiguous(index).impl(), *y.impl(), split.size,
                                 split.inner, -split.size);
    rows = 0;
  } else
#endif
    positions = detail::checked_positions("index_select", index, split.size, a, x.shape());
  parallel_for(rows, std::max<int64_t>(1, detail::elements_per_chunk / std::max<int64_t>(split.inner, 1)),
               [&](int64_t first, int64_t last) {
                 for (auto row = first; row < last; ++row) {
                   auto from = row / count * split.size + positions[static_cast<size_t>(row % count)];
                   std::copy_n(x.data() + from * split.inner, split.inner, to + row * split.inner);
                 }
               });
  return detail::record_view("index_select", y, x, [a, index, size = split.size](const Tensor<T>& dy) {
    if constexpr (Floating<T>) return index_add(dy, a, index, size);
    else return dy;
  });
}

/// Zeros with `size` slices along `axis`, plus slice i of x at position index[i]: the transpose of index_select.
template <Floating T>
Tensor<T> index_add(const Tensor<T>& x_in, int64_t axis, const Tensor<int64_t>& index, int64_t size) {
  using C = Compute<T>;
  auto a = normalize_axis("index_add", axis, x_in.rank());
  auto x = contiguous(x_in);
  require<ShapeError>(index.rank() == 1 && index.numel() == x.shape()[a], "index_add: index is ", index.shape(),
                      " but x is ", x.shape(), ": index must be (", x.shape()[a], ",)");
  auto shape = x.shape();
  shape[a] = size;
  detail::AxisSplit split(shape, a);
  auto y = zeros<T>(shape, x.device());
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto count = index.numel();
  std::vector<int64_t> positions;
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::check_index_device("index_add", index, x.device());
    detail::index_add_on_card("index_add", *x.impl(), *contiguous(index).impl(), *y.impl(), size, split.inner);
    count = 0;
  } else
#endif
    positions = detail::checked_positions("index_add", index, size, a, shape);
  // Slices that meet are added in order by one thread: work is cut across outer and inner places.
  constexpr int64_t width = 4096;
  auto strips = (split.inner + width - 1) / width;
  parallel_chunks(split.outer * strips, [&](int64_t chunk) {
    auto outer = chunk / strips, first = chunk % strips * width, n = std::min(width, split.inner - first);
    for (int64_t i = 0; i < count; ++i) {
      auto* from = x.data() + (outer * count + i) * split.inner + first;
      auto* target = to + (outer * size + positions[static_cast<size_t>(i)]) * split.inner + first;
      for (int64_t k = 0; k < n; ++k) target[k] = static_cast<T>(static_cast<C>(target[k]) + static_cast<C>(from[k]));
    }
  });
  return differentiable("index_add", y, wrt(x, [a, index](const Tensor<T>& dy) { return index_select(dy, a, index); }));
}

}  // namespace gradus::inline GRADUS_BUILD
