// Uniform and normal numbers in whole registers: initial weights are tens of millions of them.
#pragma once

#include <algorithm>
#include <numbers>

#include "gradus/device/cpu/philox_lanes.hpp"
#include "gradus/device/cpu/simd_math.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// to[i] = low + (high - low) * stream.uniform(i), at most `most`, for i in [first, last); `first` is a multiple of 4.
template <Floating T>
void fill_uniform(const RandomStream& stream, int64_t first, int64_t last, double low, double high, T most, T* to) {
  using C = Compute<T>;
  uint32_t words[philox_words];
  alignas(64) C values[philox_words];
  T rounded[philox_words];
  for (auto i = first; i < last; i += philox_words) {
    philox_fill(stream, i, words);
    for (int k = 0; k < philox_words; ++k) {
      auto uniform = static_cast<int32_t>(words[k] >> 8) * 0x1p-24;
      values[k] = static_cast<C>(low + (high - low) * uniform);
    }
    for (int k = 0; k < philox_words; k += simd_lanes)
      minimum(Simd<C>::load(values + k), Simd<C>(static_cast<C>(most))).store(rounded + k);
    std::copy_n(rounded, std::min(philox_words, last - i), to + i);
  }
}

/// to[i] = stream.normal(i) * deviation for i in [first, last), but for rounding; `first` is even.
template <Floating T>
void fill_normal(const RandomStream& stream, int64_t first, int64_t last, double deviation, T* to) {
  using C = Compute<T>;
  constexpr int64_t block = philox_words / 2;
  uint32_t words[philox_words];
  alignas(64) double chances[block], angles[block];
  T rounded[block];
  for (auto i = first; i < last; i += block) {
    philox_fill(stream, 2 * i, words);
    for (int k = 0; k < block; ++k) {
      chances[k] = (words[2 * k] + 1.0) * 0x1p-32;
      angles[k] = 2.0 * std::numbers::pi * (words[2 * k + 1] * 0x1p-32);
    }
    for (int k = 0; k < block; k += simd_lanes) {
      auto normal = sqrt(-2.0 * log(Simd<double>::load(chances + k))) * cos(Simd<double>::load(angles + k));
      (convert<C>(normal) * static_cast<C>(deviation)).store(rounded + k);
    }
    std::copy_n(rounded, std::min(block, last - i), to + i);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
