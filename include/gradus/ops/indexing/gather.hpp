// Reading by index along one axis, and its gradient, adding by index.
#pragma once

#include "gradus/ops/indexing/places.hpp"
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

/// to[i] = from[place i], for n elements of a dense index.
template <class T>
void gather_elements(const IndexedAxis& of, const LoopPlan& plan, const int64_t* numbers, int64_t n, const T* from,
                     T* to) {
  auto streamed = is_streamed(n * static_cast<int64_t>(sizeof(T)));
  parallel_for(n, elements_per_chunk, [&](int64_t begin, int64_t end) {
    for_each_place(of, plan, numbers, begin, end, [&](const int64_t* places, int64_t first, int64_t count) {
      alignas(64) T values[places_at_once];
      auto* target = streamed ? values : to + first;
      int64_t i = 0;
      for (; i + 8 <= count; i += 8) {  // compilers do not unroll by themselves, and a step is little work
        GRADUS_UNROLL
        for (int k = 0; k < 8; ++k) target[i + k] = from[places[i + k]];
      }
      for (; i < count; ++i) target[i] = from[places[i]];
      if (streamed) put_bytes(to + first, values, count * static_cast<int64_t>(sizeof(T)), true);
    });
    if (streamed) stream_fence();
  });
}

/// Zeros in the dense tensor `to`, plus from[i] at place i. Elements that meet are added in order by one thread: work
/// is cut across the axes before the one that is indexed, and, where that is too little, across those behind it.
template <class T>
void scatter_elements(const IndexedAxis& of, const Shape& index, const int64_t* numbers, const T* from, TensorImpl& y) {
  using C = Compute<T>;
  auto axis = static_cast<int>(of.axis);
  AxisSplit split(index, axis), whole(of.shape, axis);
  auto plan = plan_places(index, y.strides, axis);
  auto* to = reinterpret_cast<T*>(y.data());
  auto add = [&](int64_t begin, int64_t end) {
    for_each_place(of, plan, numbers, begin, end, [&](const int64_t* places, int64_t first, int64_t count) {
      auto* term = from + first;
      auto step = [&](int64_t i) GRADUS_INLINE_LAMBDA {
        auto& sum = to[places[i]];
        sum = static_cast<T>(static_cast<C>(sum) + static_cast<C>(term[i]));
      };
      int64_t i = 0;
      for (; i + 4 <= count; i += 4) step(i), step(i + 1), step(i + 2), step(i + 3);
      for (; i < count; ++i) step(i);
    });
  };
  auto slice = split.size * split.inner, result = whole.size * whole.inner;
  if (split.outer == whole.outer &&
      (split.outer > 1 || split.inner == 1)) {  // each slice of y is cleared where it is filled
    parallel_for(split.outer, std::max<int64_t>(1, elements_per_chunk / std::max<int64_t>(slice, 1)),
                 [&](int64_t first, int64_t last) {
                   for (auto i = first; i < last; ++i) {
                     std::fill_n(to + i * result, result, T(0));
                     add(i * slice, (i + 1) * slice);
                   }
                 });
    return;
  }
  auto zero = T(0);
  fill_elements(y, &zero);
  constexpr int64_t width = 128;
  auto strips = (split.inner + width - 1) / width;
  auto grain =
      std::max<int64_t>(1, elements_per_chunk / std::max<int64_t>(1, split.size * std::min(width, split.inner)));
  parallel_for(split.outer * strips, grain, [&](int64_t first, int64_t last) {
    for (auto unit = first; unit < last; ++unit) {
      auto begin = unit % strips * width, end = std::min(begin + width, split.inner);
      for (auto row = unit / strips * split.size; row < (unit / strips + 1) * split.size; ++row)
        add(row * split.inner + begin, row * split.inner + end);
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
  {
    detail::gather_elements({"gather", x.shape(), a, x.strides()[a]},
                            detail::plan_places(index.shape(), x.strides(), a), index.data(), index.numel(), x.data(),
                            to);
  }
  return detail::record_view("gather", y, x, [a, index, shape = x.shape()](const Tensor<T>& dy) {
    if constexpr (Floating<T>) return scatter_add(dy, a, index, shape);
    else return static_cast<void>(a), dy;
  });
}

/// Zeros of `shape`, plus each element of x at its position in `index` along `axis`: the transpose of gather. x has the
/// shape of `index`. Elements that meet are added in order.
template <Floating T>
Tensor<T> scatter_add(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index_in, const Shape& shape) {
  auto a = normalize_axis("scatter_add", axis, shape.rank());
  detail::check_gather("scatter_add", shape, a, index_in);
  require<ShapeError>(x.shape() == index_in.shape(), "scatter_add: x is ", x.shape(), " but index ", index_in.shape());
  detail::require_device("scatter_add", x.device(), index_in);
  auto index = contiguous(index_in);
  auto dense = contiguous(x);
  auto y = Tensor<T>::empty(shape, x.device(), "scatter_add");
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto zero = T(0);
    detail::fill_elements(*y.impl(), &zero);
    auto* to = reinterpret_cast<T*>(y.impl()->data());
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
  {
    detail::scatter_elements({"scatter_add", shape, a, y.strides()[a]}, index.shape(), index.data(), dense.data(),
                             *y.impl());
  }
  return differentiable("scatter_add", y, wrt(x, [a, index](const Tensor<T>& dy) { return gather(dy, a, index); }));
}

}  // namespace gradus::inline GRADUS_BUILD
