// Where the axis of a plot begins and ends, and which numbers stand on it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// Ticks are multiples of 1, 2 or 5 times a power of ten.
struct PlotAxis {
  double low, high, step;

  /// From `from` to `to` with about `count` ticks. `whole_steps`: begins and ends at one.
  PlotAxis(double from, double to, int64_t count, bool whole_steps) : low(from), high(to) {
    auto least = 1e-9 * std::max(std::abs(low), std::abs(high));  // a narrower axis could not be labelled
    if (high - low <= least) {
      auto room = low == 0 ? 1 : 0.1 * std::abs(low);
      low -= room;
      high += room;
    }
    auto wanted = (high - low) / static_cast<double>(std::max<int64_t>(count, 1));
    auto power = std::pow(10, std::floor(std::log10(wanted)));
    auto share = wanted / power;
    step = power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
    if (!whole_steps) return;
    low = std::floor(low / step + 1e-6) * step;
    high = std::ceil(high / step - 1e-6) * step;
  }

  std::vector<double> ticks() const {
    std::vector<double> values;
    auto first = std::ceil(low / step - 1e-6), last = std::floor(high / step + 1e-6);
    for (auto i = first; i <= last; i += 1) values.push_back(i * step);
    return values;
  }

  /// As many decimals as the step needs.
  std::string label(double value) const {
    auto decimals = static_cast<int>(std::max(0.0, -std::floor(std::log10(step) + 1e-6)));
    auto largest = std::max(std::abs(low), std::abs(high));
    char buffer[32];
    auto* end = buffer + sizeof(buffer);
    if (std::abs(value) < step / 2) return "0";
    if (largest < 1e6 && decimals <= 6)
      return {buffer, std::to_chars(buffer, end, value, std::chars_format::fixed, decimals).ptr};
    return {buffer, std::to_chars(buffer, end, value, std::chars_format::general, 6).ptr};
  }

  /// From 0 at the low end to 1 at the high end.
  double place(double value) const { return (value - low) / (high - low); }
};

}  // namespace gradus::io::detail::inline GRADUS_BUILD
