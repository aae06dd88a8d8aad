// Operands on which formulas are compared: zeros, ones, infinities, NaN, the ends of the range, and random ones.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace gradus::test {

/// 61 numbers: a prime, so that operands that walk through them in different steps meet in all pairs.
template <class C>
std::vector<C> formula_samples() {
  std::vector<C> values;
  using limits = std::numeric_limits<C>;
  if constexpr (std::is_floating_point_v<C>) {
    for (auto x : {C(0), C(0.5), C(1), C(2), C(3.7), C(12), C(100), limits::min(), limits::denorm_min(), limits::max(),
                   limits::infinity(), limits::quiet_NaN()}) {
      values.push_back(x);
      values.push_back(-x);
    }
  } else {
    for (auto x : {C(0), C(1), C(-1), C(2), C(7), C(-7), limits::max(), limits::min()}) values.push_back(x);
  }
  uint64_t state = 1;
  while (values.size() < 61) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    auto random = static_cast<double>(state >> 11) * 0x1p-53 - 0.5;
    values.push_back(static_cast<C>(random * 20));
  }
  return values;
}

/// Element i of operand k.
template <class C>
C formula_sample(const std::vector<C>& values, size_t k, size_t i) {
  constexpr size_t steps[] = {1, 5, 11, 17};
  return values[(i * steps[k] + i / values.size() * k) % values.size()];
}

}  // namespace gradus::test
