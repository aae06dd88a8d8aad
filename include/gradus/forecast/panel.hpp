#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "gradus/forecast/calendar.hpp"
#include "gradus/ops/indexing/index_select.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

/// One product in one store. Numbers count from 0 within the panel.
struct SeriesInfo {
  std::string name;
  int64_t product = 0, store = 0, region = 0;
};

/// Daily sales of many series over the same days, and what a shop knows of each day in advance.
struct Panel {
  Day first_day = 0;
  std::vector<SeriesInfo> series = {};
  std::vector<std::string> regions = {};
  Tensor<float> sales;                   ///< (series, days), units
  Tensor<float> price;                   ///< (series, days), of a unit
  std::vector<std::string> known_names;  ///< of what is known in advance: "closed", "promotion", ...
  Tensor<float> known;                   ///< (series, days, known_names.size())

  int64_t size() const { return sales.size(0); }
  int64_t days() const { return sales.size(1); }
  /// Sales of one series.
  std::span<const float> history(int64_t series_index) const {
    return {sales.data() + series_index * days(), static_cast<size_t>(days())};
  }
  /// The number of one of known_names, or -1.
  int64_t known_index(std::string_view name) const {
    auto found = std::find(known_names.begin(), known_names.end(), name);
    return found == known_names.end() ? -1 : found - known_names.begin();
  }
  float known_at(int64_t series_index, int64_t day, int64_t which) const {
    return known.data()[(series_index * days() + day) * std::ssize(known_names) + which];
  }

  /// How many products, stores and regions there are.
  std::array<int64_t, 3> groups() const {
    std::array<int64_t, 3> count = {1, 1, 1};
    for (const auto& one : series) {
      count[0] = std::max(count[0], one.product + 1);
      count[1] = std::max(count[1], one.store + 1);
      count[2] = std::max(count[2], one.region + 1);
    }
    return count;
  }

  /// The panel with these series only, in this order; products and stores are counted anew.
  Panel part(const std::vector<int64_t>& which) const {
    auto index = from_vector(which, {std::ssize(which)});
    Panel result{first_day,
                 {},
                 regions,
                 index_select(sales, 0, index),
                 index_select(price, 0, index),
                 known_names,
                 index_select(known, 0, index)};
    std::vector<int64_t> products, stores;
    auto number = [](std::vector<int64_t>& seen, int64_t value) {
      auto found = std::find(seen.begin(), seen.end(), value);
      if (found == seen.end()) found = seen.insert(seen.end(), value);
      return found - seen.begin();
    };
    for (auto i : which) {
      auto one = series[static_cast<size_t>(i)];
      one.product = number(products, one.product);
      one.store = number(stores, one.store);
      result.series.push_back(std::move(one));
    }
    return result;
  }

  /// The series that sold on most days before `end`, best first.
  std::vector<int64_t> busiest(int64_t count, int64_t end) const {
    std::vector<std::pair<int64_t, int64_t>> order;
    for (int64_t i = 0; i < size(); ++i) {
      auto of = history(i).first(static_cast<size_t>(end));
      order.emplace_back(-std::count_if(of.begin(), of.end(), [](float x) { return x > 0; }), i);
    }
    std::sort(order.begin(), order.end());
    std::vector<int64_t> best;
    for (size_t i = 0; i < order.size() && std::ssize(best) < count; ++i) best.push_back(order[i].second);
    return best;
  }
};

/// Days of a series before `end` that are above `factor` times the 99 % quantile of its selling days until then count
/// as that much: a wholesale order says little about the days to come. Needs 60 selling days before it judges. How many
/// were cut. Copies the sales first, so that other panels keep theirs.
inline int64_t cut_outliers(Panel& panel, int64_t end, double factor = 3) {
  panel.sales = panel.sales.clone();
  auto* sales = panel.sales.mutable_data();
  int64_t cut = 0;
  for (int64_t i = 0; i < panel.size(); ++i) {
    std::vector<float> before;  // selling days, sorted
    for (int64_t t = 0; t < std::min(end, panel.days()); ++t) {
      auto& x = sales[i * panel.days() + t];
      if (x <= 0) continue;
      if (before.size() >= 60) {
        auto place = static_cast<size_t>(0.99 * static_cast<double>(before.size() - 1));
        auto high = static_cast<float>(factor) * before[place];
        cut += x > high ? 1 : 0;
        x = std::min(x, high);
      }
      before.insert(std::upper_bound(before.begin(), before.end(), x), x);
    }
  }
  return cut;
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
