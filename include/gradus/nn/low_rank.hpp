#pragma once

#include "gradus/tensor/tensor.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

template <Floating T>
struct Linear;

/// What add_lora (nn/lora.hpp) says of a dense layer.
template <Floating T>
struct LowRank {
  double scale = 0, dropout = 0;
  /// Adds the low-rank part to the layer's own result; null: there is none. A pointer, so that programs without LoRA do
  /// not compile it.
  Tensor<T> (*add)(const Linear<T>& layer, const Tensor<T>& x, const Tensor<T>& y) = nullptr;
};

}  // namespace gradus::nn::inline GRADUS_BUILD
