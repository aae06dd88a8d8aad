#pragma once

#include "gradus/ops/reduction/argmax_kernel.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Position of the largest element along an axis, the first one of several; NaN counts as largest.
/// The axis disappears, or stays with size 1 when keep_dims.
template <Numeric T>
Tensor<int64_t> argmax(const Tensor<T>& x, int64_t axis = -1, bool keep_dims = false) {
  auto a = normalize_axis("argmax", axis, x.rank());
  detail::ReduceShape split("argmax", x.shape(), x.strides(), Axes(a));
  require<ShapeError>(x.size(a) > 0 || split.kept.numel() == 0, "argmax: nothing to choose from in axis ", axis,
                      " of shape ", x.shape());
  auto y = Tensor<int64_t>::empty(keep_dims ? split.keep_dims : split.kept, x.device(), "argmax");
  auto* to = reinterpret_cast<int64_t*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto outputs = split.kept.numel();
    auto plan = detail::plan_loop(split.kept, &split.kept_strides, 1);
    cuda::detail::launch_blocks("argmax", x.device(), detail::cuda_reduce(), {dtype_of<T>, dtype_of<T>}, "block_argmax",
                                outputs, detail::cuda_layout(plan), outputs, x.size(a), x.strides()[a], to, x.data());
    return y;
  }
#endif
  detail::argmax_elements<T>(*x.impl(), split, to);
  return y;
}

}  // namespace gradus::inline GRADUS_BUILD
