#pragma once

#include "gradus/ops/reduction/reduce.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/reshape.hpp"

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T> expand(const Tensor<T>& x, const Shape& shape);

/// Sum over axes; they disappear, or stay with size 1 when keep_dims. The sum of nothing is 0.
template <Floating T>
Tensor<T> sum(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  auto split = detail::ReduceShape("sum", x.shape(), x.strides(), axes);
  return differentiable("sum", detail::reduce<detail::SumReducer<T>>("sum", x, axes, keep_dims),
                        wrt(x, [shape = x.shape(), kept = split.keep_dims](const Tensor<T>& dy) {
                          return expand(reshape(dy, kept), shape);
                        }));
}

/// Whole numbers and truth values are counted in int64.
template <Element T>
requires(!Floating<T>) Tensor<int64_t> sum(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  return detail::reduce<detail::SumReducer<int64_t>>("sum", cast<int64_t>(x), axes, keep_dims);
}

/// Sum of all elements: a scalar.
template <Element T>
auto sum(const Tensor<T>& x) {
  return sum(x, Axes::all(x.rank()));
}

}  // namespace gradus::inline GRADUS_BUILD

#include "gradus/ops/view/expand.hpp"  // the gradient; includes this file for its own
