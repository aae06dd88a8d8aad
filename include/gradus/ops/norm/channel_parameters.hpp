// What batch norm makes of the numbers of a channel, and where its gradient comes from.
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

/// What comes back of a run, or of all memory: dy, or dy + more. Where `kept` is not null, what of that the rectifier
/// passes is written there, which may be the memory of any of them; then `result`, if not null, tells in x's place what
/// the rectifier cut.
template <class T>
struct ArrivedGradient {
  const T *dy, *more = nullptr, *result = nullptr;
  T* kept = nullptr;

  ArrivedGradient from(int64_t offset) const {
    auto further = [offset](auto* memory) { return memory != nullptr ? memory + offset : nullptr; };
    return {dy + offset, further(more), further(result), further(kept)};
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
