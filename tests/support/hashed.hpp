// Numbers that C++ and Python make alike, so that weights and batches need not be stored: a hash of (seed, i).
#pragma once

#include <cmath>
#include <cstdlib>
#include <string>

#include "gradus/autograd/parameter.hpp"
#include "gradus/tensor/creation.hpp"

#include "tests/support/simulated_card.hpp"

namespace gradus::test {

/// In [0, 1), a multiple of 2^-24. The mixing steps are those of MurmurHash3 (Appleby, 2011).
inline double hashed_uniform(uint32_t seed, int64_t i) {
  auto h = static_cast<uint32_t>(i) * 2654435761u + seed * 0x9e3779b9u;
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return ((h ^ h >> 16) >> 8) * 0x1p-24;
}

/// Uniform in [low, high), rounded to float whatever T is.
template <Floating T>
Tensor<T> hashed(uint32_t seed, const Shape& shape, double low, double high) {
  auto result = Tensor<T>::empty(shape);
  auto* to = result.mutable_data();
  for (int64_t i = 0; i < result.numel(); ++i)
    to[i] = static_cast<T>(static_cast<float>(low + (high - low) * hashed_uniform(seed, i)));
  return result;
}

/// Labels in [0, classes): (n,).
inline Tensor<int64_t> hashed_labels(uint32_t seed, int64_t n, int64_t classes) {
  auto result = Tensor<int64_t>::empty({n});
  auto* to = result.mutable_data();
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<int64_t>(hashed_uniform(seed, i) * static_cast<double>(classes));
  return result;
}

/// Fills a model's parameters: matrices and kernels as layers start, scales of norms around 1, biases around 0.
template <Floating T, class Model>
void fill_hashed(Model& model) {
  uint32_t seed = 0;
  NoGradGuard guard;
  for (auto& [name, parameter] : named_parameters<T>(model)) {
    auto fan_in = parameter.numel() / parameter.size(0);
    auto bound = parameter.rank() > 1 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0.25;
    auto middle = parameter.rank() == 1 && name.ends_with("weight") ? 1.0 : 0.0;
    parameter.copy_(hashed<T>(++seed, parameter.shape(), middle - bound, middle + bound));
  }
}

/// On which models are tested: the GPU where GRADUS_TEST_ONLY_GPU asks for it.
inline Device tested_device() {
  return std::getenv("GRADUS_TEST_ONLY_GPU") != nullptr ? Device::cuda() : Device::cpu();
}
/// The same, on the device on which models are tested.
template <Floating T, class Model>
Device fill_and_place(Model& model) {
  fill_hashed<T>(model);
  to(model, tested_device());
  return tested_device();
}
/// Losses on a GPU may be this much further from PyTorch's: sums are in another order.
inline double device_tolerance(double tolerance) {
  return std::getenv("GRADUS_TEST_ONLY_GPU") != nullptr ? 20 * tolerance : tolerance;
}

}  // namespace gradus::test
