#pragma once

#include <vector>

#include "gradus/nn/linear.hpp"
#include "gradus/ops/pointwise/relu.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Dense layers with relu between them: Mlp<float>({784, 512, 512, 10}). x (n, first size) -> (n, last size).
template <Floating T = float>
struct Mlp {
  std::vector<nn::Linear<T>> layers;
  GRADUS_FIELDS(layers)

  explicit Mlp(const std::vector<int64_t>& sizes) {
    require<ValueError>(sizes.size() >= 2, "Mlp: ", sizes.size(),
                        " sizes, but at least an input and an output size are needed");
    for (size_t i = 0; i + 1 < sizes.size(); ++i) layers.emplace_back(sizes[i], sizes[i + 1]);
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    auto y = x;
    for (size_t i = 0; i < layers.size(); ++i) y = i + 1 < layers.size() ? relu(layers[i](y)) : layers[i](y);
    return y;
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
