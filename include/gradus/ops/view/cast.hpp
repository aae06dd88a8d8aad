#pragma once

#include "gradus/ops/view/reshape.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Elements converted as by static_cast; bool is x != 0. Between floating types the gradient is cast back.
template <Element To, Element From>
Tensor<To> cast(const Tensor<From>& x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else {
    auto y = Tensor<To>::empty(x.shape(), x.device(), "cast");
    detail::cast_elements<To, From>(*y.impl(), *x.impl());
    if constexpr (Floating<To> && Floating<From>) {
      return differentiable("cast", y, wrt(x, [](const Tensor<To>& dy) { return cast<From>(dy); }));
    } else {
      return y;
    }
  }
}

}  // namespace gradus::inline GRADUS_BUILD
