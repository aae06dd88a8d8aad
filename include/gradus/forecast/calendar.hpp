// Days as numbers, and holidays, also those that move.
#pragma once

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>

#include "gradus/core/error.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

/// Days since 1970-01-01.
using Day = int64_t;

inline Day to_day(int year, int month, int day) {
  using namespace std::chrono;
  return sys_days(year_month_day(std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                 std::chrono::day(static_cast<unsigned>(day))))
      .time_since_epoch()
      .count();
}
inline std::chrono::year_month_day to_date(Day day) {
  return std::chrono::year_month_day(std::chrono::sys_days(std::chrono::days(day)));
}
inline int year_of(Day day) { return static_cast<int>(to_date(day).year()); }
/// 0: Monday ... 6: Sunday.
inline int weekday_of(Day day) { return static_cast<int>(((day + 3) % 7 + 7) % 7); }
/// From 0 to 1 over the year.
inline double year_share(Day day) { return static_cast<double>(day - to_day(year_of(day), 1, 1)) / 365.25; }

/// "2011-12-09"
inline std::string to_string(Day day) {
  auto date = to_date(day);
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), "%04d-%02u-%02u", static_cast<int>(date.year()) % 10000,
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return buffer;
}

/// "2011-12-09" or "12/9/2011" (month first), with or without a time behind. False when it is no date.
inline bool parse_day(std::string_view text, Day& day) {
  int parts[3] = {};
  auto separator = text.find_first_of("-/");
  if (separator == text.npos) return false;
  auto mark = text[separator];
  const auto *at = text.data(), *end = text.data() + text.size();
  for (int i = 0; i < 3; ++i) {
    auto [next, problem] = std::from_chars(at, end, parts[i]);
    if (problem != std::errc() || (i < 2 && (next == end || *next != mark))) return false;
    at = next + (i < 2 ? 1 : 0);
  }
  if (at != end && *at != ' ' && *at != 'T') return false;
  if (mark == '/')
    std::swap(parts[0], parts[2]), std::swap(parts[1], parts[2]);  // month, day, year -> year, month, day
  using namespace std::chrono;
  year_month_day date(year(parts[0]), month(static_cast<unsigned>(parts[1])),
                      std::chrono::day(static_cast<unsigned>(parts[2])));
  if (!date.ok() || parts[0] < 1900 || parts[0] > 2200) return false;
  day = sys_days(date).time_since_epoch().count();
  return true;
}

/// Easter Sunday of the Gregorian calendar (the anonymous algorithm of 1876, as Meeus gives it).
inline Day easter(int year) {
  auto a = year % 19, b = year / 100, c = year % 100, d = b / 4, e = b % 4, f = (b + 8) / 25, g = (b - f + 1) / 3;
  auto h = (19 * a + b - d - g + 15) % 30, i = c / 4, k = c % 4, l = (32 + 2 * e + 2 * i - h - k) % 7;
  auto m = (a + 11 * h + 22 * l) / 451, n = h + l - 7 * m + 114;
  return to_day(year, n / 31, n % 31 + 1);
}

}  // namespace gradus::forecast::inline GRADUS_BUILD

namespace gradus::forecast::detail::inline GRADUS_BUILD {

/// The k-th (from 1) such weekday of a month, or the last with k = -1.
inline Day nth_weekday(int year, int month, int weekday, int k) {
  if (k > 0) {
    auto first = to_day(year, month, 1);
    return first + (weekday - weekday_of(first) + 7) % 7 + 7 * (k - 1);
  }
  auto next = month == 12 ? to_day(year + 1, 1, 1) : to_day(year, month + 1, 1);
  return next - 1 - (weekday_of(next - 1) - weekday + 7) % 7;
}

}  // namespace gradus::forecast::detail::inline GRADUS_BUILD

namespace gradus::forecast::inline GRADUS_BUILD {

enum class Country { united_kingdom, germany, united_states };

/// The name of the public holiday on a day, empty when it is none. Substitute days of holidays on a week-end count
/// where the law has them; single days that a government proclaimed do not.
inline std::string_view holiday(Day day, Country country) {
  using detail::nth_weekday;
  auto year = year_of(day);
  auto date = to_date(day);
  auto month = static_cast<int>(static_cast<unsigned>(date.month()));
  auto number = static_cast<int>(static_cast<unsigned>(date.day()));
  auto after_easter = day - easter(year);
  auto is = [&](int m, int d) { return month == m && number == d; };
  if (country == Country::united_states) {
    auto observed = [&](int m, int d) {  // Saturday: the day before, Sunday: the day after
      auto on = to_day(year, m, d);
      auto weekday = weekday_of(on);
      return day == (weekday == 5 ? on - 1 : weekday == 6 ? on + 1 : on);
    };
    if (observed(1, 1) || (is(12, 31) && weekday_of(day) == 4)) return "New Year's Day";
    if (day == nth_weekday(year, 1, 0, 3)) return "Martin Luther King Day";
    if (day == nth_weekday(year, 2, 0, 3)) return "Presidents' Day";
    if (day == nth_weekday(year, 5, 0, -1)) return "Memorial Day";
    if (observed(7, 4)) return "Independence Day";
    if (day == nth_weekday(year, 9, 0, 1)) return "Labor Day";
    if (day == nth_weekday(year, 11, 3, 4)) return "Thanksgiving";
    if (observed(12, 25)) return "Christmas Day";
    return "";
  }
  if (after_easter == -2) return "Good Friday";
  if (after_easter == 1) return "Easter Monday";
  if (country == Country::germany) {
    if (is(1, 1)) return "New Year's Day";
    if (is(5, 1)) return "Labour Day";
    if (after_easter == 39) return "Ascension Day";
    if (after_easter == 50) return "Whit Monday";
    if (is(10, 3)) return "German Unity Day";
    if (is(12, 25)) return "Christmas Day";
    if (is(12, 26)) return "Second Day of Christmas";
    return "";
  }
  auto weekday = weekday_of(day);
  if (is(1, 1) || ((is(1, 2) || is(1, 3)) && weekday == 0)) return "New Year's Day";
  if (day == nth_weekday(year, 5, 0, 1)) return "Early May bank holiday";
  if (day == nth_weekday(year, 5, 0, -1)) return "Spring bank holiday";
  if (day == nth_weekday(year, 8, 0, -1)) return "Summer bank holiday";
  if (is(12, 25) || (is(12, 27) && (weekday == 0 || weekday == 1))) return "Christmas Day";
  if (is(12, 26) || (is(12, 28) && (weekday == 0 || weekday == 1))) return "Boxing Day";
  return "";
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
