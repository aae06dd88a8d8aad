// Views of a part: slice, select.
#pragma once

#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T> slice(const Tensor<T>& x, int64_t axis, int64_t start, int64_t stop, int64_t step = 1);

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Element T>
Tensor<T> raw_slice(const Tensor<T>& x, int axis, int64_t start, int64_t count, int64_t step) {
  auto shape = x.shape();
  auto strides = x.strides();
  shape[axis] = count;
  strides[axis] *= step;
  return raw_view(x, shape, strides, count == 0 ? 0 : start * x.strides()[axis]);
}

/// Zeros of `shape` with x written where slice(axis, start, stop, step) would read: the gradient of slice.
template <Floating T>
Tensor<T> unslice(const Tensor<T>& x, const Shape& shape, int axis, int64_t start, int64_t stop, int64_t step) {
  auto y = zeros<T>(shape, x.device());
  copy_elements(*raw_slice(y, axis, start, x.shape()[axis], step).impl(), *x.impl());
  return differentiable("unslice", y, wrt(x, [=](const Tensor<T>& dy) { return slice(dy, axis, start, stop, step); }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Elements start, start + step, ... below stop of one axis; negative positions count from the end, and both are
/// cut to the axis as in Python. Shares memory.
template <Element T>
Tensor<T> slice(const Tensor<T>& x, int64_t axis, int64_t start, int64_t stop, int64_t step) {
  auto a = normalize_axis("slice", axis, x.rank());
  require<ValueError>(step >= 1, "slice: the step is ", step, ", but must be at least 1");
  auto size = x.shape()[a];
  auto clip = [size](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  auto from = clip(start), to = std::max(clip(stop), clip(start));
  auto count = to > from ? (to - from - 1) / step + 1 : 0;
  auto y = detail::raw_slice(x, a, from, count, count > 1 ? step : 1);
  return detail::record_view("slice", y, x, [=, shape = x.shape()](const Tensor<T>& dy) {
    if constexpr (Floating<T>) return detail::unslice(dy, shape, a, from, to, step);
    else return dy;
  });
}

/// One position of an axis, which disappears: (n, c, h) -> select(x, 1, 2) is (n, h). Shares memory.
template <Element T>
Tensor<T> select(const Tensor<T>& x, int64_t axis, int64_t index) {
  auto a = normalize_axis("select", axis, x.rank());
  auto size = x.shape()[a];
  require<IndexError>(index >= -size && index < size, "select: index ", index, " is out of range for axis ", axis,
                      " of shape ", x.shape());
  auto at = index < 0 ? index + size : index;
  return squeeze(slice(x, a, at, at + 1), a);
}

}  // namespace gradus::inline GRADUS_BUILD
