// What batch norm makes of the numbers of a channel.
#pragma once

#include <array>

#include "gradus/core/rectifier.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What normalises the channels of a tensor, all (c,) and dense; weight and bias may be undefined.
template <Floating T>
struct ChannelParameters {
  using C = Compute<T>;
  Tensor<C> mean, inverse;  ///< inverse: 1 / sqrt(variance + eps)
  Tensor<T> weight, bias;
  Rectifier rectifier;

  /// {mean, scale, shift} of each channel of a CPU's: x becomes the rectifier of (x - mean) scale + shift.
  void write_numbers(std::array<C, 3>* to) const {
    auto *weights = data_or_null(weight), *biases = data_or_null(bias);
    for (int64_t c = 0; c < mean.numel(); ++c) {
      auto scale = inverse.data()[c];
      if (weights != nullptr) scale *= static_cast<C>(weights[c]);
      to[c] = {mean.data()[c], scale, biases != nullptr ? static_cast<C>(biases[c]) : C(0)};
    }
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
