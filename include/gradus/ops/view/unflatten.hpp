#pragma once

#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Axes first ... first + count - 1 become one, so that the shape is `to`. Shares memory where the strides allow it.
template <Element T>
Tensor<T> join_axes(const Tensor<T>& x, int first, int count, const Shape& to) {
  auto strides = x.strides();
  for (int i = first + count - 1; i > first; --i) {
    if (strides[i - 1] != strides[i] * x.shape()[i]) return reshape(x, to);
    strides.erase(i - 1);
  }
  return record_view("join_axes", raw_view(x, to, strides), x,
                     [from = x.shape()](const Tensor<T>& dy) { return reshape(dy, from); });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// One axis becomes several, whose sizes multiply to its own: (n, t, 12) -> unflatten(x, -1, {3, 4}) is (n, t, 3, 4).
/// Shares memory whatever the strides. As torch.unflatten.
template <Element T>
Tensor<T> unflatten(const Tensor<T>& x, int64_t axis, const Shape& sizes) {
  auto a = normalize_axis("unflatten", axis, x.rank());
  require<ShapeError>(sizes.numel() == x.size(a), "unflatten: axis ", axis, " of shape ", x.shape(),
                      " does not become ", sizes);
  Shape shape;
  Strides strides;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != a) {
      shape.push_back(x.shape()[i]);
      strides.push_back(x.strides()[i]);
      continue;
    }
    auto inner = contiguous_strides(sizes);
    for (int k = 0; k < sizes.rank(); ++k) {
      shape.push_back(sizes[k]);
      strides.push_back(inner[k] * x.strides()[a]);
    }
  }
  return detail::record_view("unflatten", detail::raw_view(x, shape, strides), x,
                             [from = x.shape(), a, count = sizes.rank()](const Tensor<T>& dy) {
                               return count > 0 ? detail::join_axes(dy, a, count, from) : reshape(dy, from);
                             });
}

/// (n, tokens, heads * d) -> (n, heads, tokens, d), and back by join_heads. Shares memory.
template <Floating T>
Tensor<T> split_heads(const Tensor<T>& x, int64_t heads) {
  require<ShapeError>(x.rank() == 3 && heads > 0 && x.size(2) % heads == 0, "split_heads: x is ", x.shape(),
                      ", but its ", "last size must be a multiple of the ", heads, " heads");
  return transpose(unflatten(x, 2, {heads, x.size(2) / heads}), 1, 2);
}
/// (n, heads, tokens, d) -> (n, tokens, heads * d). Shares memory when x lies as (n, tokens, heads, d), as the result
/// of scaled_dot_product_attention does.
template <Floating T>
Tensor<T> join_heads(const Tensor<T>& x) {
  require<ShapeError>(x.rank() == 4, "join_heads: x is ", x.shape(), ", but must be (n, heads, tokens, d)");
  return flatten(transpose(x, 1, 2), 2);
}

}  // namespace gradus::inline GRADUS_BUILD
