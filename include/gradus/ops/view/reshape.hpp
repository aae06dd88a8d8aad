// Views that keep the order of elements: reshape, flatten, squeeze, unsqueeze; and contiguous, which copies.
#pragma once

#include "gradus/autograd/differentiable.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Another view of x's memory, not recorded.
template <Element T>
Tensor<T> raw_view(const Tensor<T>& x, const Shape& shape, const Strides& strides, int64_t offset = 0) {
  const auto& impl = x.impl();
  return Tensor<T>(make_impl(impl->dtype, impl->storage, impl->offset + offset, shape, strides));
}

/// Records `y` as a view of x with the given gradient; element types without gradients pass through.
template <Element T, class F>
Tensor<T> record_view(const char* name, Tensor<T> y, const Tensor<T>& x, F&& gradient) {
  if constexpr (Floating<T>) return differentiable(name, std::move(y), wrt(x, std::forward<F>(gradient)));
  else return y;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x itself when it is row-major without gaps, else a dense copy.
template <Element T>
Tensor<T> contiguous(const Tensor<T>& x) {
  if (x.is_contiguous()) return x;
  return detail::record_view("contiguous", x.clone(), x, [](const Tensor<T>& dy) { return dy; });
}

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// contiguous(), not recorded, of an operand that may be undefined.
template <Element T>
Tensor<T> dense_or_undefined(const Tensor<T>& x) {
  return x.defined() ? contiguous(x.detach()) : x;
}

/// Room for images (n, c, h, w).
template <Element T>
Tensor<T> empty_images(const Shape& shape, Device device, bool channels_last, const char* op = "copy") {
  return Tensor<T>(allocate_images(dtype_of<T>, shape, device, channels_last, op));
}

/// x itself when it lies channels last, or row-major where that is not wanted, without gaps; else a dense copy that
/// does.
template <Element T>
Tensor<T> in_order(const Tensor<T>& x, bool channels_last) {
  auto shape = x.shape();
  if (!channels_last || !orders_differ(shape)) return contiguous(x);
  if (is_channels_last(*x.impl())) return x;
  auto y = empty_images<T>(shape, x.device(), true);
  copy_elements(*y.impl(), *x.impl());
  return record_view("channels_last", std::move(y), x, [](const Tensor<T>& dy) { return dy; });
}

/// x itself when it is dense, row-major or channels last; else a row-major copy.
template <Element T>
Tensor<T> in_some_order(const Tensor<T>& x) {
  return is_channels_last(*x.impl()) ? x : contiguous(x);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The same elements in row-major order under another shape; one size may be -1 and is worked out. Shares memory
/// when x is contiguous, else copies. Throws ShapeError when the counts differ.
template <Element T>
Tensor<T> reshape(const Tensor<T>& x, Shape shape) {
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != -1) {
      require<ShapeError>(shape[i] >= 0, "reshape: shape ", shape, " has a negative size");
      require<ShapeError>(!__builtin_mul_overflow(known, shape[i], &known), "reshape: shape ", shape,
                          " holds more elements than 63 bits can count");
      continue;
    }
    require<ShapeError>(unknown < 0, "reshape: shape ", shape,
                        " leaves two sizes open, but at most one can be worked out");
    unknown = i;
  }
  if (unknown >= 0) {
    require<ShapeError>(known != 0 && x.numel() % known == 0, "reshape: ", x.numel(), " elements of shape ", x.shape(),
                        " do not fill ", shape);
    shape[unknown] = x.numel() / known;
  }
  require<ShapeError>(shape.numel() == x.numel(), "reshape: x is ", x.shape(), " with ", x.numel(), " elements, but ",
                      shape, " has ", shape.numel());
  auto dense = contiguous(x);
  return detail::record_view("reshape", detail::raw_view(dense, shape, contiguous_strides(shape)), dense,
                             [from = x.shape()](const Tensor<T>& dy) { return reshape(dy, from); });
}

/// Joins the axes first ... last into one: (n, c, h, w) -> (n, c * h * w) by default.
template <Element T>
Tensor<T> flatten(const Tensor<T>& x, int64_t first = 1, int64_t last = -1) {
  if (x.rank() == 0) return reshape(x, {1});
  auto from = normalize_axis("flatten", first, x.rank()), to = normalize_axis("flatten", last, x.rank());
  require<ShapeError>(from <= to, "flatten: axis ", first, " comes after axis ", last, " of shape ", x.shape());
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i > from && i <= to) shape[from] *= x.shape()[i];
    else shape.push_back(x.shape()[i]);
  }
  return reshape(x, shape);
}

/// A new axis of size 1 in front of `axis`; -1 appends one.
template <Element T>
Tensor<T> unsqueeze(const Tensor<T>& x, int64_t axis) {
  auto at = normalize_axis("unsqueeze", axis, x.rank() + 1);
  auto shape = x.shape();
  auto strides = x.strides();
  shape.insert(at, 1);
  strides.insert(at, 1);
  return detail::record_view("unsqueeze", detail::raw_view(x, shape, strides), x,
                             [from = x.shape()](const Tensor<T>& dy) { return reshape(dy, from); });
}

/// Drops an axis of size 1. Throws ShapeError when it is larger.
template <Element T>
Tensor<T> squeeze(const Tensor<T>& x, int64_t axis) {
  auto at = normalize_axis("squeeze", axis, x.rank());
  require<ShapeError>(x.shape()[at] == 1, "squeeze: axis ", axis, " of shape ", x.shape(), " has size ", x.shape()[at],
                      ", not 1");
  auto shape = x.shape();
  auto strides = x.strides();
  shape.erase(at);
  strides.erase(at);
  return detail::record_view("squeeze", detail::raw_view(x, shape, strides), x,
                             [from = x.shape()](const Tensor<T>& dy) { return reshape(dy, from); });
}

/// Drops every axis of size 1.
template <Element T>
Tensor<T> squeeze(const Tensor<T>& x) {
  auto y = x;
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    if (x.shape()[axis] == 1) y = squeeze(y, axis);
  }
  return y;
}

}  // namespace gradus::inline GRADUS_BUILD
