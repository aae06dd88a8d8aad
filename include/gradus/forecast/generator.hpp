// Sales of a chain of shops, made by rules that are known: to try forecasts on data of any size.
#pragma once

#include <numbers>

#include "gradus/core/rng.hpp"
#include "gradus/forecast/panel.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

struct GeneratorOptions {
  int64_t stores = 20, products = 15, regions = 4;
  Day first_day = to_day(2019, 1, 1);
  int64_t days = 5 * 365;
  uint64_t seed = 1;
  Country country = Country::germany;
};

}  // namespace gradus::forecast::inline GRADUS_BUILD

namespace gradus::forecast::detail::inline GRADUS_BUILD {

/// Draws of one purpose, each the next words of a stream of its own.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t purpose) : stream_{seed * 0x9E3779B97F4A7C15u + purpose, 0} {}
  double uniform() { return stream_.uniform(next_++); }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  double normal() {
    next_ += next_ % 2;
    auto value = stream_.normal(next_ / 2);
    next_ += 2;
    return value;
  }
  bool happens(double probability) { return uniform() < probability; }
  int64_t below(int64_t bound) { return static_cast<int64_t>(uniform() * static_cast<double>(bound)); }

  /// Marsaglia and Tsang, 2000; mean 1.
  double gamma(double shape) {
    auto d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      auto x = normal(), v = 1 + c * x;
      if (v <= 0) continue;
      v = v * v * v;
      if (std::log(uniform() + 1e-12) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v / shape;
    }
  }
  int64_t poisson(double mean) {
    if (mean > 60) return std::max<int64_t>(0, std::llround(mean + std::sqrt(mean) * normal()));
    auto limit = std::exp(-mean), product = uniform();
    int64_t count = 0;
    for (; product > limit; ++count) product *= uniform();
    return count;
  }

 private:
  RandomStream stream_;
  int64_t next_ = 0;
};

/// How a line of products sells.
struct ProductLine {
  double level, price, growth;
  double weekly[7];
  double yearly, peak;     ///< strength and day of the year's season
  double before_holidays;  ///< how much more is sold in the week before Christmas and Easter
  double elasticity;       ///< of price
  double pull_forward;     ///< share of a promotion's extra sales that are missing behind it
  double warmth;           ///< effect of a day ten degrees above what is usual
  double scatter;          ///< shape of the gamma noise: large is calm
};

inline ProductLine draw_line(Draws& draws) {
  ProductLine line{};
  line.level = std::exp(2.2 + 0.9 * draws.normal());
  line.price = std::exp(1.0 + 0.6 * draws.normal());
  line.growth = 0.06 * draws.normal();
  for (int d = 0; d < 7; ++d) line.weekly[d] = std::exp(0.15 * draws.normal() + (d == 4 ? 0.25 : d == 5 ? 0.45 : 0.0));
  line.yearly = std::abs(0.35 * draws.normal());
  line.peak = draws.uniform();
  line.before_holidays = std::abs(0.5 * draws.normal());
  line.elasticity = draws.uniform(1.5, 4);
  line.pull_forward = draws.uniform(0.1, 0.5);
  line.warmth = 0.2 * draws.normal();
  line.scatter = draws.uniform(4, 25);
  return line;
}

/// Of each day, how far its temperature is from what is usual, in tens of degrees: a weather of its own a region, whose
/// turns last some days.
inline std::vector<double> draw_weather(Draws& draws, int64_t days) {
  std::vector<double> weather;
  double now = 0;
  for (int64_t t = 0; t < days; ++t) weather.push_back(now = 0.8 * now + 0.25 * draws.normal());
  return weather;
}

/// Discounts of each day: promotions of one to two weeks, some every quarter.
inline std::vector<double> draw_promotions(Draws& draws, int64_t days) {
  std::vector<double> discount(static_cast<size_t>(days));
  for (int64_t t = draws.below(60); t < days;) {
    auto length = 7 * (1 + draws.below(2)), from = t;
    auto depth = 0.1 + 0.05 * static_cast<double>(draws.below(6));
    for (; t < std::min(days, from + length); ++t) discount[static_cast<size_t>(t)] = depth;
    t += 28 + draws.below(70);
  }
  return discount;
}

}  // namespace gradus::forecast::detail::inline GRADUS_BUILD

namespace gradus::forecast::inline GRADUS_BUILD {

/// Daily sales of every product line in every store, a series each. Mean sales are
///   level of line and store * growth * week * year * holidays * (price / usual price)^-elasticity * weather,
/// units a gamma-Poisson number around them. Promotions of a region's line lower the price, and a part of what they
/// sold more is missing in the ten days behind them. Prices rise about once a year. Shops are closed on Sundays and
/// holidays, which move with Easter. Some products come late or are sold off, some days find a shelf empty. Known in
/// advance are "closed", "promotion" (the discount), "price" (relative to the usual one), "warmth" (a forecast: the
/// truth and an error of 0.15) and "holiday_ahead" (1 on the days of the week before Christmas or Easter). Every number
/// is a function of the options: the same seed makes the same panel.
inline Panel generate_retail(const GeneratorOptions& options = {}) {
  require<ValueError>(options.stores > 0 && options.products > 0 && options.regions > 0 && options.days > 0,
                      "generate_retail: ", options.stores, " stores, ", options.products, " products, ",
                      options.regions, " regions and ", options.days, " days, but all must be at least 1");
  using detail::Draws;
  constexpr int64_t channels = 5;
  auto count = options.stores * options.products, days = options.days;
  Panel panel{.first_day = options.first_day,
              .sales = zeros<float>({count, days}),
              .price = zeros<float>({count, days}),
              .known_names = {"closed", "promotion", "price", "warmth", "holiday_ahead"},
              .known = zeros<float>({count, days, channels})};
  std::vector<float> closed, ahead;
  for (int64_t t = 0; t < days; ++t) {
    auto day = options.first_day + t;
    closed.push_back(weekday_of(day) == 6 || !holiday(day, options.country).empty() ? 1.0f : 0.0f);
    auto year = year_of(day);
    auto to_christmas = to_day(year, 12, 25) - day, to_easter = easter(year) - day;
    ahead.push_back((to_christmas > 0 && to_christmas <= 7) || (to_easter > 0 && to_easter <= 7) ? 1.0f : 0.0f);
  }
  std::vector<detail::ProductLine> lines;
  Draws of_lines(options.seed, 1);
  for (int64_t p = 0; p < options.products; ++p) lines.push_back(detail::draw_line(of_lines));
  std::vector<std::vector<double>> weather, promotions;
  for (int64_t r = 0; r < options.regions; ++r) {
    panel.regions.push_back(join("region ", r + 1));
    Draws of_weather(options.seed, 100 + static_cast<uint64_t>(r));
    weather.push_back(detail::draw_weather(of_weather, days));
    for (int64_t p = 0; p < options.products; ++p) {
      Draws of_promotions(options.seed, 10000 + static_cast<uint64_t>(r * options.products + p));
      promotions.push_back(detail::draw_promotions(of_promotions, days));
    }
  }
  auto *sales = panel.sales.mutable_data(), *prices = panel.price.mutable_data(), *known = panel.known.mutable_data();
  for (int64_t s = 0; s < options.stores; ++s) {
    Draws of_store(options.seed, 1000000 + static_cast<uint64_t>(s));
    auto region = s % options.regions;
    auto size = std::exp(0.5 * of_store.normal());
    for (int64_t p = 0; p < options.products; ++p) {
      Draws draws(options.seed, 2000000 + static_cast<uint64_t>(s * options.products + p));
      const auto& line = lines[static_cast<size_t>(p)];
      const auto& discount = promotions[static_cast<size_t>(region * options.products + p)];
      auto i = s * options.products + p;
      panel.series.push_back({join("store ", s + 1, ", line ", p + 1), p, s, region});
      auto level = line.level * size * std::exp(0.3 * draws.normal()), usual = line.price;
      auto begins = draws.happens(0.1) ? draws.below(days / 2) : 0;
      auto ends = draws.happens(0.1) ? days / 2 + draws.below(days / 2) : days;
      double debt = 0;  // units that a promotion has sold in advance
      int64_t empty = 0;
      for (int64_t t = 0; t < days; ++t) {
        auto at = i * days + t;
        auto day = options.first_day + t;
        auto off = discount[static_cast<size_t>(t)];
        if (t % 365 == 180) usual *= 1.0 + 0.04 * draws.uniform();
        auto warm = weather[static_cast<size_t>(region)][static_cast<size_t>(t)];
        prices[at] = static_cast<float>(usual * (1 - off));
        auto* of_day = known + at * channels;
        of_day[0] = closed[static_cast<size_t>(t)];
        of_day[1] = static_cast<float>(off);
        of_day[2] = static_cast<float>(1 - off);
        of_day[3] = static_cast<float>(warm + 0.15 * draws.normal());
        of_day[4] = ahead[static_cast<size_t>(t)];
        if (closed[static_cast<size_t>(t)] > 0 || t < begins) continue;
        auto years = static_cast<double>(t) / 365;
        auto mean = level * std::exp(line.growth * years) * line.weekly[weekday_of(day)] *
                    (1 + line.yearly * std::cos(2 * std::numbers::pi * (year_share(day) - line.peak))) *
                    (1 + line.before_holidays * static_cast<double>(ahead[static_cast<size_t>(t)])) *
                    std::exp(line.warmth * warm);
        if (t >= ends) mean *= std::exp(-static_cast<double>(t - ends) / 60);  // sold off
        auto extra = mean * (std::pow(1 - off, -line.elasticity) - 1);
        auto missing = off > 0 ? 0.0 : std::min(0.6 * mean, debt / 5);
        debt += line.pull_forward * extra - missing;
        if (empty == 0 && draws.happens(0.003)) empty = 1 + draws.below(4);
        auto units = draws.poisson((mean + extra - missing) * draws.gamma(line.scatter));
        if (empty > 0) {
          --empty;
          continue;
        }
        sales[at] = static_cast<float>(units);
      }
    }
  }
  return panel;
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
