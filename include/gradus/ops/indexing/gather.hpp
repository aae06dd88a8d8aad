// Reading by index along one axis, and its gradient, adding by index.
#pragma once

#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/indexing/indexing_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T> gather(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index);
template <Floating T>
Tensor<T> scatter_add(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index, const Shape& shape);

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

inline void check_gather(const char* op, const Shape& x, int axis, const Tensor<int64_t>& index) {
  auto fits = index.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || index.shape()[i] <= x[i];
  require<ShapeError>(fits, op, ": x is ", x, " and index ", index.shape(),
                      ", but index must have as many axes and be no larger, except along axis ", axis);
}

/// Calls body(place in the tensor of shape `at`, position in the index) for each element of the index, which is dense.
/// strides are those of the tensor.
template <class Body>
void for_each_index(const char* op, const Shape& shape, const Strides& strides, int axis, const Tensor<int64_t>& index,
                    Body&& body) {
  auto outer = strides;
  outer[axis] = 0;
  auto plan = plan_loop(index.shape(), &outer, 1);
  auto* numbers = index.data();
  int64_t at = 0, size = shape[axis], step = strides[axis];
  for_each_row(plan, 0, index.numel(), [&](const int64_t* offsets, int64_t n) {
    for (int64_t i = 0; i < n; ++i, ++at) {
      auto number = numbers[at];
      require<IndexError>(number >= -size && number < size, op, ": index ", number, " is out of range for axis ", axis,
                          " of shape ", shape);
      body(offsets[0] + i * plan.inner_stride(0) + (number < 0 ? number + size : number) * step, at);
    }
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// y has the shape of `index`; along `axis` it takes the elements whose positions stand in `index`, elsewhere its own:
/// for axis 1, y(i, j) = x(i, index(i, j)). Negative positions count from the end. As torch.gather.
/// Throws IndexError for a position out of range.
template <Element T>
Tensor<T> gather(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index_in) {
  auto a = normalize_axis("gather", axis, x.rank());
  detail::check_gather("gather", x.shape(), a, index_in);
  detail::require_device("gather", x.device(), index_in);
  auto index = contiguous(index_in);
  auto y = Tensor<T>::empty(index.shape(), x.device(), "gather");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto outer = x.strides();
    outer[a] = 0;
    auto layout = detail::cuda_layout(detail::plan_loop(index.shape(), &outer, 1));
    auto& context = cuda::detail::Context::of(x.device());
    static constexpr const char* name = "gather";
    cuda::detail::launch_each(name, x.device(), detail::cuda_indexing(), {dtype_of<T>}, "gather", index.numel(), layout,
                              x.shape()[a], x.strides()[a], context.fault(), name, to, x.data(), index.data());
  } else
#endif
      if (index.numel() > 0) {
    detail::for_each_index("gather", x.shape(), x.strides(), a, index,
                           [&](int64_t place, int64_t at) { to[at] = x.data()[place]; });
  }
  return detail::record_view("gather", y, x, [a, index, shape = x.shape()](const Tensor<T>& dy) {
    if constexpr (Floating<T>) return scatter_add(dy, a, index, shape);
    else return dy;
  });
}

/// Zeros of `shape`, plus each element of x at its position in `index` along `axis`: the transpose of gather. x has the
/// shape of `index`. Elements that meet are added in order.
template <Floating T>
Tensor<T> scatter_add(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index_in, const Shape& shape) {
  using C = Compute<T>;
  auto a = normalize_axis("scatter_add", axis, shape.rank());
  detail::check_gather("scatter_add", shape, a, index_in);
  require<ShapeError>(x.shape() == index_in.shape(), "scatter_add: x is ", x.shape(), " but index ", index_in.shape());
  detail::require_device("scatter_add", x.device(), index_in);
  auto index = contiguous(index_in);
  auto dense = contiguous(x);
  auto y = zeros<T>(shape, x.device());
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto lines = index.shape();
    auto of_index = index.strides(), of_y = y.strides();
    lines[a] = 1;
    const Strides strides[] = {of_index, of_y};
    auto layout = detail::cuda_layout(detail::plan_loop(lines, strides, 2));
    auto& context = cuda::detail::Context::of(x.device());
    static constexpr const char* name = "scatter_add";
    if (index.numel() > 0)
      cuda::detail::launch_each(name, x.device(), detail::cuda_indexing(), {dtype_of<T>}, "scatter_add", lines.numel(),
                                layout, index.shape()[a], of_index[a], shape[a], of_y[a], context.fault(), name, to,
                                dense.data(), index.data());
  } else
#endif
      if (index.numel() > 0) {
    detail::for_each_index("scatter_add", shape, y.strides(), a, index, [&](int64_t place, int64_t at) {
      to[place] = static_cast<T>(static_cast<C>(to[place]) + static_cast<C>(dense.data()[at]));
    });
  }
  return differentiable("scatter_add", y, wrt(x, [a, index](const Tensor<T>& dy) { return gather(dy, a, index); }));
}

}  // namespace gradus::inline GRADUS_BUILD
