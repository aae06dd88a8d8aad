#pragma once

#include "gradus/ops/indexing/cat.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What the parts are adjacent slices of along an axis, where they lie in one memory as cut from a dense tensor of
/// `shape`: no copy is needed to join them. Otherwise undefined.
template <Floating T>
Tensor<T> joined_view(const std::vector<Tensor<T>>& parts, const Shape& shape, int axis) {
  auto strides = contiguous_strides(shape);
  const auto& first = parts[0].impl();
  auto offset = first->offset;
  for (const auto& part : parts) {
    const auto& impl = part.impl();
    if (impl->node || impl->storage != first->storage || impl->offset != offset || !(impl->strides == strides))
      return {};
    offset += part.size(axis) * strides[axis];
  }
  return raw_view(parts[0], shape, strides);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Cuts x along an axis into parts of these sizes, which must add up to its own: `auto [q, k, v] = split<3>(x, {4, 2,
/// 2}, -1);`. The parts are views; their gradients are written into one tensor. As torch.split.
template <size_t N, Element T>
std::array<Tensor<T>, N> split(const Tensor<T>& x, const std::array<int64_t, N>& sizes, int64_t axis = 0) {
  auto a = normalize_axis("split", axis, x.rank());
  std::array<Tensor<T>, N> parts;
  int64_t start = 0;
  for (size_t i = 0; i < N; start += sizes[i++]) {
    require<ShapeError>(sizes[i] >= 0 && sizes[i] <= x.size(a) - start, "split: x is ", x.shape(), ", but parts 0 to ",
                        i, " take ", start + sizes[i], " of axis ", axis);
    parts[i] = detail::raw_slice(x, a, start, sizes[i], 1);
  }
  require<ShapeError>(start == x.size(a), "split: x is ", x.shape(), ", but the parts take ", start, " of axis ", axis);
  if constexpr (!Floating<T>) {
    return parts;
  } else {
    return differentiable("split", parts, inputs(x),
                          [shape = x.shape(), sizes, a, x_device = x.device()](const std::array<Tensor<T>, N>& dys,
                                                                               const std::array<bool, 1>&) {
                            std::vector<Tensor<T>> given(dys.begin(), dys.end());
                            for (size_t i = 0; i < N; ++i) {
                              auto part = shape;
                              part[a] = sizes[i];
                              if (!given[i].defined()) given[i] = zeros<T>(part, x_device);
                            }
                            auto joined = detail::joined_view(given, shape, a);
                            return std::tuple(joined.defined() ? joined : cat(given, a));
                          });
  }
}

}  // namespace gradus::inline GRADUS_BUILD
