#pragma once

#include <cmath>

#include "gradus/ops/product/matmul.hpp"
#include "gradus/ops/window/window_options.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// (to, from): row i holds what each of `from` places weighs at place i of `to`, for places spread evenly with their
/// centres at (i + 1/2) / to.
template <Floating T>
Tensor<T> bilinear_weights(int64_t from, int64_t to) {
  auto weights = Tensor<T>::empty({to, from});
  auto* w = reinterpret_cast<T*>(weights.impl()->data());
  std::fill_n(w, to * from, T(0));
  for (int64_t i = 0; i < to; ++i) {
    auto place = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    place = std::max(place, 0.0);
    auto low = std::min(static_cast<int64_t>(place), from - 1), high = std::min(low + 1, from - 1);
    auto share = place - static_cast<double>(low);
    auto add = [&](int64_t at, double weight) {
      w[i * from + at] = static_cast<T>(static_cast<Compute<T>>(w[i * from + at]) + static_cast<Compute<T>>(weight));
    };
    add(low, 1 - share);
    add(high, share);
  }
  return weights;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Images of another size: x (n, c, h, w) -> (n, c, size.rows, size.columns), each pixel from the four around its
/// place. As torch.nn.functional.interpolate with mode "bilinear" and align_corners false; like it, it does not smooth
/// before it makes smaller.
template <Floating T>
Tensor<T> resize_bilinear(const Tensor<T>& x, Size2d size) {
  require<ShapeError>(x.rank() == 4 && x.size(2) > 0 && x.size(3) > 0, "resize_bilinear: x is ", x.shape(),
                      ", but must be (n, c, h, w) with pixels");
  require<ValueError>(size.rows > 0 && size.columns > 0, "resize_bilinear: to ", size, ", but both must be at least 1");
  auto rows = detail::bilinear_weights<T>(x.size(2), size.rows),
       columns = detail::bilinear_weights<T>(x.size(3), size.columns);
  return matmul(rows.to(x.device()), matmul(x, transpose(columns.to(x.device()))));
}

}  // namespace gradus::inline GRADUS_BUILD
