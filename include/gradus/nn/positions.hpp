#pragma once

#include <cmath>

#include "gradus/tensor/creation.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// Positions as sines and cosines of falling frequency (Vaswani et al., 2017): (count, size), to be added to vectors;
/// number 2 i is sin(position / 10000^(2 i / size)), number 2 i + 1 the cosine. Learned positions are an Embedding,
/// rotary ones see rotary.
template <Floating T>
Tensor<T> sinusoidal_positions(int64_t count, int64_t size) {
  auto table = Tensor<T>::empty({count, size});
  auto* to = table.mutable_data();
  for (int64_t i = 0; i < count * size; ++i) {
    auto pair = i % size / 2 * 2;
    auto angle =
        static_cast<double>(i / size) * std::pow(10000.0, -static_cast<double>(pair) / static_cast<double>(size));
    to[i] = static_cast<T>(static_cast<Compute<T>>(i % size % 2 == 0 ? std::sin(angle) : std::cos(angle)));
  }
  return table;
}

}  // namespace gradus::nn::inline GRADUS_BUILD
