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
