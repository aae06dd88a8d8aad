// Axes of pictures and charts: the range shown, the ticks on it and their labels.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "gradus/core/config.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// With that many decimals, whatever the program's locale is.
inline std::string fixed(double value, int decimals) {
  char buffer[400];
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed, decimals).ptr;
  auto text = std::string(buffer, end);
  return text.find_first_of("123456789") == text.npos && text[0] == '-' ? text.substr(1) : text;  // no "-0.0"
}

/// As short as it can be with at most `digits` digits: "0.25", "1e-05", "12500".
inline std::string general(double value, int digits = 6) {
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::general, digits).ptr};
}

struct Tick {
  double value;
  std::string label;
};

/// Maps values onto 0 (low end) to 1.
struct Axis {
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<Tick> ticks;

  bool shows(double value) const { return std::isfinite(value) && (!logarithmic || value > 0); }
  double place(double value) const {
    if (logarithmic) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
  }
};

/// 1, 2, 2.5 or 5 times a power of ten: the smallest such step that makes at most `most` steps of `range`.
inline double nice_step(double range, int most) {
  auto power = std::pow(10.0, std::floor(std::log10(range / most)));
  for (auto factor : {1.0, 2.0, 2.5, 5.0, 10.0}) {
    if (range <= factor * power * most * (1 + 1e-9)) return factor * power;
  }
  return 20 * power;
}

/// Ticks at the multiples of `step`, all with as many decimals: "0.25", "400", "15k", "1e-07".
inline std::vector<Tick> linear_ticks(double low, double high, double step) {
  auto largest = std::max(std::abs(low), std::abs(high));
  auto thousands = step >= 500 && largest >= 1e4 && largest < 1e7;
  auto unit = thousands ? 1000.0 : 1.0;
  auto decimals = 0;
  auto fraction = [](double x) { return std::abs(x - std::round(x)); };
  for (auto scaled = step / unit; decimals < 8 && fraction(scaled) > 1e-6 * scaled; scaled *= 10) ++decimals;
  std::vector<Tick> ticks;
  for (auto i = std::ceil(low / step - 1e-6); i <= high / step + 1e-6; ++i) {
    auto value = i * step;
    auto powers = step < 1e-5 || largest >= 1e7;
    auto label = powers ? general(value, 4) : fixed(value / unit, decimals) + (thousands ? "k" : "");
    ticks.push_back({value, i == 0 ? "0" : label});
  }
  return ticks;
}

/// Too narrow to be labelled, as an axis of one value is.
inline bool is_narrow(double low, double high) { return high - low <= 1e-9 * std::max(std::abs(low), std::abs(high)); }

/// For x: from the first to the last value. Whole numbers get no ticks in between.
inline Axis tight_axis(double low, double high, bool whole, int most) {
  if (is_narrow(low, high)) {
    auto room = std::max(0.5, 1e-6 * std::abs(low));
    low -= room;
    high += room;
  }
  auto step = nice_step(high - low, most);
  if (whole) step = std::max(step == 2.5 ? 5.0 : step, 1.0);
  return {low, high, false, linear_ticks(low, high, step)};
}

/// For y: begins and ends at a tick, and at 0 where that is near.
inline Axis round_axis(double low, double high, int most) {
  if (is_narrow(low, high)) {
    auto room = low == 0 ? 1.0 : 0.1 * std::abs(low);
    low -= room;
    high += room;
  }
  if (low > 0 && low < 0.5 * high) low = 0;
  if (high < 0 && high > 0.5 * low) high = 0;
  auto step = nice_step(high - low, most);
  low = std::floor(low / step + 1e-6) * step;
  high = std::ceil(high / step - 1e-6) * step;
  return {low, high, false, linear_ticks(low, high, step)};
}

/// For y on a logarithmic scale; both ends must be positive.
inline Axis log_axis(double low, double high, int most) {
  if (high < 1.2 * low) low /= 1.1, high *= 1.1;
  auto room = std::pow(high / low, 0.03);
  Axis axis{low / room, high * room, true, {}};
  auto first = static_cast<int>(std::floor(std::log10(axis.low))),
       last = static_cast<int>(std::ceil(std::log10(axis.high)));
  for (const auto& factors : {std::vector<double>{1, 2, 5}, {1, 3}, {1}}) {
    axis.ticks.clear();
    auto stride = factors.size() > 1 ? 1 : std::max(1, (last - first) / most);
    for (auto power = first; power <= last; power += stride) {
      for (auto factor : factors) {
        auto value = factor * std::pow(10.0, power);
        if (value >= axis.low && value <= axis.high) axis.ticks.push_back({value, general(value, 3)});
      }
    }
    if (static_cast<int>(axis.ticks.size()) <= most) break;
  }
  if (axis.ticks.size() < 3) axis.ticks = linear_ticks(axis.low, axis.high, nice_step(axis.high - axis.low, most));
  return axis;
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD
