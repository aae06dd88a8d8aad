// Many random words at once: the loop over counters is innermost, so that the compiler uses whole registers.
#pragma once

#include "gradus/core/rng.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int64_t philox_words = 256;  // 64 counters of four words

/// words[k] = stream.word(first + k); `first` is a multiple of 4.
inline void philox_fill(const RandomStream& stream, int64_t first, uint32_t (&words)[philox_words]) {
  constexpr int lanes = philox_words / 4;
  uint64_t c0[lanes], c1[lanes], c2[lanes], c3[lanes];  // 32-bit values, held wide for the products
  auto base = stream.offset + static_cast<uint64_t>(first) / 4;
  for (int i = 0; i < lanes; ++i) {
    auto counter = base + static_cast<uint64_t>(i);
    c0[i] = counter & 0xffffffffu;
    c1[i] = counter >> 32;
    c2[i] = c3[i] = 0;
  }
  auto key0 = stream.seed & 0xffffffffu, key1 = stream.seed >> 32;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < lanes; ++i) {
      auto product0 = uint64_t{0xD2511F53u} * static_cast<uint32_t>(c0[i]);
      auto product1 = uint64_t{0xCD9E8D57u} * static_cast<uint32_t>(c2[i]);
      c0[i] = (product1 >> 32) ^ c1[i] ^ key0;
      c2[i] = (product0 >> 32) ^ c3[i] ^ key1;
      c1[i] = product1 & 0xffffffffu;
      c3[i] = product0 & 0xffffffffu;
    }
    key0 = (key0 + 0x9E3779B9u) & 0xffffffffu;
    key1 = (key1 + 0xBB67AE85u) & 0xffffffffu;
  }
  for (int i = 0; i < lanes; ++i) {
    words[4 * i] = static_cast<uint32_t>(c0[i]);
    words[4 * i + 1] = static_cast<uint32_t>(c1[i]);
    words[4 * i + 2] = static_cast<uint32_t>(c2[i]);
    words[4 * i + 3] = static_cast<uint32_t>(c3[i]);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
