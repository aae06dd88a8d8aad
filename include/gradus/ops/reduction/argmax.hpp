#pragma once

#include "gradus/ops/reduction/reduce.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Position of the largest element along an axis, the first one of several; NaN counts as largest.
/// The axis disappears, or stays with size 1 when keep_dims.
template <Numeric T>
Tensor<int64_t> argmax(const Tensor<T>& x, int64_t axis = -1, bool keep_dims = false) {
  auto a = normalize_axis("argmax", axis, x.rank());
  auto count = x.shape()[a], step = x.strides()[a];
  auto shape = x.shape();
  auto strides = x.strides();
  shape.erase(a);
  strides.erase(a);
  require<ShapeError>(count > 0 || shape.numel() == 0, "argmax: nothing to choose from in axis ", axis, " of shape ",
                      x.shape());
  auto y = Tensor<int64_t>::empty(shape, x.device(), "argmax");
  auto* to = reinterpret_cast<int64_t*>(y.impl()->data());
  auto plan = detail::plan_loop(shape, &strides, 1);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto outputs = shape.numel();
    cuda::detail::launch_blocks("argmax", x.device(), detail::cuda_reduce(), {dtype_of<T>, dtype_of<T>}, "block_argmax",
                                outputs, detail::cuda_layout(plan), outputs, count, step, to, x.data());
    return keep_dims ? unsqueeze(y, a) : y;
  }
#endif
  parallel_for(shape.numel(), std::max<int64_t>(1, detail::elements_per_chunk / std::max<int64_t>(count, 1)),
               [&](int64_t first, int64_t last) {
                 detail::for_each_row(plan, first, last, [&, at = first](const int64_t* offsets, int64_t n) mutable {
                   for (int64_t i = 0; i < n; ++i, ++at) {
                     auto* row = x.data() + offsets[0] + i * plan.inner_stride(0);
                     int64_t best = 0;
                     for (int64_t k = 1; k < count && row[best * step] == row[best * step]; ++k) {
                       if (!(row[k * step] <= row[best * step])) best = k;
                     }
                     to[at] = best;
                   }
                 });
               });
  if (!keep_dims) return y;
  shape.insert(a, 1);
  return reshape(y, shape);
}

}  // namespace gradus::inline GRADUS_BUILD
