// Counter-based random numbers: Philox 4x32-10 (Salmon et al., 2011). A number is a function of (seed,
// position), so that threads, devices and recomputation see the same ones.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

#include "gradus/core/config.hpp"

namespace gradus::inline GRADUS_STABLE {

/// Four random words for a 128-bit counter under a 64-bit key.
inline std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  auto key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                               static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  for (int round = 0; round < 10; ++round) {
    auto product0 = uint64_t{0xD2511F53u} * c[0], product1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

/// A reserved stretch of random words; word i depends on seed, offset and i alone.
struct RandomStream {
  uint64_t seed = 0;
  uint64_t offset = 0;  ///< in blocks of four words

  uint32_t word(int64_t i) const {
    auto index = static_cast<uint64_t>(i);
    return philox(seed, offset + index / 4, 0)[index % 4];
  }
  /// In [0, 1), a multiple of 2^-24.
  float uniform(int64_t i) const { return static_cast<float>(word(i) >> 8) * 0x1p-24f; }
  /// Standard normal; uses words 2i and 2i + 1.
  double normal(int64_t i) const {
    auto [chance, turn] = words(i);
    auto radius = std::sqrt(-2.0 * std::log((chance + 1.0) * 0x1p-32));
    return radius * std::cos(2.0 * std::numbers::pi * (turn * 0x1p-32));
  }
  /// A whole number below `bound`, without noticeable bias; uses words 2i and 2i + 1.
  uint64_t below(int64_t i, uint64_t bound) const {
    auto [upper, lower] = words(i);
    auto wide = static_cast<uint64_t>(upper) << 32 | lower;
    return static_cast<uint64_t>((static_cast<unsigned __int128>(wide) * bound) >> 64);
  }
  /// Puts `count` values into random order (Fisher and Yates); uses words 2 to 2 count - 1.
  void shuffle(int64_t* values, int64_t count) const {
    for (auto i = count - 1; i > 0; --i) std::swap(values[i], values[below(i, static_cast<uint64_t>(i + 1))]);
  }

 private:
  /// Words 2i and 2i + 1, which are of one block.
  std::array<uint32_t, 2> words(int64_t i) const {
    auto index = static_cast<uint64_t>(i);
    auto block = philox(seed, offset + index / 2, 0);
    return index % 2 == 0 ? std::array{block[0], block[1]} : std::array{block[2], block[3]};
  }
};

/// Hands out stretches of random words. The whole state is two integers, which a checkpoint can hold.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : seed_(seed) {}

  void manual_seed(uint64_t seed) {
    seed_ = seed;
    offset_ = 0;
  }
  /// `words` random words that nobody else gets.
  RandomStream reserve(int64_t words) {
    RandomStream stream{seed_, offset_};
    offset_ += (static_cast<uint64_t>(words) + 3) / 4;
    return stream;
  }

  uint64_t seed() const { return seed_; }
  uint64_t offset() const { return offset_; }
  void set_state(uint64_t seed, uint64_t offset) {
    seed_ = seed;
    offset_ = offset;
  }
  /// Internal: what a checkpoint holds.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("seed", seed_);
    visitor("offset", offset_);
  }

 private:
  uint64_t seed_;
  uint64_t offset_ = 0;
};

/// The generator of this thread, seeded with 0 until manual_seed.
GRADUS_SHARED inline Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

/// Makes every random number that this thread draws from here on repeatable.
inline void manual_seed(uint64_t seed) { default_generator().manual_seed(seed); }

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::detail::inline GRADUS_STABLE {

/// Whether this thread's generator stands back for a while at an earlier state, as in recompute().
GRADUS_SHARED inline bool& generator_is_replaced() {
  thread_local bool replaced = false;
  return replaced;
}

}  // namespace gradus::detail::inline GRADUS_STABLE
