#pragma once

#include <limits>

#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/ops/pointwise/log.hpp"
#include "gradus/ops/reduction/max.hpp"

namespace gradus::inline GRADUS_BUILD {

/// log(sum(exp(x))) over axes, without overflow. -infinity over nothing but -infinities.
template <Floating T>
Tensor<T> logsumexp(const Tensor<T>& x, const Axes& axes, bool keep_dims = false) {
  auto split = detail::ReduceShape("logsumexp", x.shape(), x.strides(), axes);
  auto top = no_grad([&] {  // keep_dims; infinities are not subtracted from each other
    auto m = max(x, axes, true);
    return where(abs(m) == std::numeric_limits<double>::infinity(), 0.0, m).detach();
  });
  auto y = log(sum(exp(x - top), axes, true)) + top;
  return keep_dims ? y : reshape(y, split.kept);
}
template <Floating T>
Tensor<T> logsumexp(const Tensor<T>& x) {
  return logsumexp(x, Axes::all(x.rank()));
}

}  // namespace gradus::inline GRADUS_BUILD
