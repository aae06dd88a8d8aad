// Rounding up or down at random, the nearer the likelier, so that the mean of many results is exact.
#pragma once

#include <bit>
#include <cmath>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cpu/philox_lanes.hpp"

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// `word` is random; it goes up where word / 2^32 is below the part that is cut off. NaN and infinities stay.
GRADUS_INLINE bf16 round_at_random(float x, uint32_t word, bf16) {
  auto bits = std::bit_cast<uint32_t>(x);
  auto rounded = (bits >> 16) + (word < bits << 16 ? 1u : 0u);
  return std::bit_cast<bf16>(static_cast<uint16_t>(std::isnan(x) ? bits >> 16 | 0x40u : rounded));
}
GRADUS_INLINE f16 round_at_random(float x, uint32_t word, f16) {
  auto bits = std::bit_cast<uint32_t>(x), size = bits & 0x7fffffffu, exponent = size >> 23;
  if (size >= 0x47800000u) return static_cast<f16>(x);  // 2^16 and above, NaN
  // Steps of f16 in the upper half, the part that is cut off in the lower.
  auto steps = size >= 0x38800000u
                   ? uint64_t{size - 0x38000000u} << 19
                   : uint64_t{(size & 0x7fffffu) | 0x800000u} << 32 >> (exponent > 63 ? 126 - exponent : 63);
  auto rounded = static_cast<uint32_t>(steps >> 32) + (word < static_cast<uint32_t>(steps) ? 1u : 0u);
  return std::bit_cast<f16>(static_cast<uint16_t>((bits >> 16 & 0x8000u) | rounded));
}

/// Words of a stream, for elements that are asked for in order.
class WordsInOrder {
 public:
  explicit WordsInOrder(const RandomStream& stream) : stream_(stream) {}
  /// Words i to i + count - 1; at most 16.
  const uint32_t* at(int64_t i, int64_t count) {
    if (i + count > first_ + gradus::detail::philox_words) {
      first_ = i / 4 * 4;
      gradus::detail::philox_fill(stream_, first_, words_);
    }
    return words_ + (i - first_);
  }

 private:
  RandomStream stream_;
  int64_t first_ = -gradus::detail::philox_words;
  uint32_t words_[gradus::detail::philox_words];
};

}  // namespace gradus::optim::detail::inline GRADUS_BUILD
