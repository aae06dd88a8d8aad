// Sorting whose types are forgotten: one compiled function for every list that is short or seldom sorted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "gradus/core/config.hpp"
#include "gradus/core/function_ref.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// The numbers 0 ... count - 1 in the order that less(a, b) wants; equals keep their order.
GRADUS_COLD inline std::vector<int64_t> sorted_order(size_t count, FunctionRef<bool(int64_t, int64_t)> less) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return less(a, b) || (!less(b, a) && a < b); });
  return order;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
