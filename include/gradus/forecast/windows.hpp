// What a model sees of a panel at a day: the sales before it, and what is known of the days to come.
#pragma once

#include <numbers>

#include "gradus/forecast/panel.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

struct WindowOptions {
  int64_t history = 56;  ///< days before the origin that are read one by one
  int64_t horizon = 14;  ///< days from the origin on that are forecast
  int64_t weeks = 8;     ///< so many same weekdays before the origin give median and mean
};

/// Samples side by side; sales are relative to `scale`, what a series sold on a mean day of its history, and a half.
struct WindowBatch {
  Tensor<float> past;      ///< (n, history, past_size)
  Tensor<float> future;    ///< (n, horizon, future_size)
  Tensor<float> base;      ///< (n, horizon): log(1 + median of the last same weekdays)
  Tensor<float> scale;     ///< (n,)
  Tensor<int64_t> groups;  ///< (n, 3): product, store, region
  Tensor<float> target;    ///< (n, horizon): what was sold; undefined where the panel ends before

  WindowBatch to(Device device) const {
    return {past.to(device),  future.to(device), base.to(device),
            scale.to(device), groups.to(device), target.defined() ? target.to(device) : target};
  }
};

/// The median or mean of up to `weeks` last sales before `origin` on the weekday of day `day`; 0 where there is none.
inline std::pair<float, float> weekday_median_and_mean(std::span<const float> history, int64_t origin, int64_t day,
                                                       int64_t weeks) {
  float values[64];
  int64_t count = 0;
  auto last = day - (day - origin + 7) / 7 * 7;  // the last such weekday before the origin
  float sum = 0;
  for (auto t = last; t >= 0 && count < std::min<int64_t>(weeks, 64); t -= 7) {
    values[count++] = history[static_cast<size_t>(t)];
    sum += history[static_cast<size_t>(t)];
  }
  if (count == 0) return {0.0f, 0.0f};
  std::sort(values, values + count);
  return {(values[(count - 1) / 2] + values[count / 2]) / 2, sum / static_cast<float>(count)};
}

/// Makes samples of a panel. Nothing but what is `known` is read from the origin on, but for the target.
class Windows {
 public:
  explicit Windows(const Panel& panel, const WindowOptions& options = {}) : panel_(panel), options_(options) {
    require<ValueError>(options.history >= 7 && options.horizon >= 1 && options.weeks >= 1 && options.weeks <= 64,
                        "Windows: ", options.history, " days of history, ", options.horizon, " of horizon and ",
                        options.weeks, " weeks, but there must be at least 7, 1 and 1, and at most 64 weeks");
    auto days = panel.days();
    calendar_ = Tensor<float>::empty({days, calendar_size});
    auto* to = calendar_.mutable_data();
    for (int64_t t = 0; t < days; ++t) {
      auto day = panel.first_day + t;
      auto angle = 2 * std::numbers::pi * year_share(day);
      for (int d = 0; d < 7; ++d) *to++ = weekday_of(day) == d ? 1.0f : 0.0f;
      for (auto turn : {1, 2}) {
        *to++ = static_cast<float>(std::sin(turn * angle));
        *to++ = static_cast<float>(std::cos(turn * angle));
      }
    }
    totals_.resize(static_cast<size_t>(days));
    for (int64_t t = 0; t < days; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < panel.size(); ++i) sum += static_cast<double>(panel.sales.data()[i * days + t]);
      totals_[static_cast<size_t>(t)] = static_cast<float>(std::log1p(sum / static_cast<double>(panel.size())));
    }
  }

  const Panel& panel() const { return panel_; }
  const WindowOptions& options() const { return options_; }
  int64_t past_size() const { return 2 + calendar_size + known_size(); }
  int64_t future_size() const { return calendar_size + known_size() + 4; }

  /// Sample k is series series[k] at day origins[k], from `history` to days - horizon. IndexError out of range.
  WindowBatch batch(std::span<const int64_t> series, std::span<const int64_t> origins) const {
    auto n = std::ssize(series), length = options_.history, horizon = options_.horizon;
    WindowBatch batch{Tensor<float>::empty({n, length, past_size()}),
                      Tensor<float>::empty({n, horizon, future_size()}),
                      Tensor<float>::empty({n, horizon}),
                      Tensor<float>::empty({n}),
                      Tensor<int64_t>::empty({n, 3}),
                      Tensor<float>::empty({n, horizon})};
    auto *past = batch.past.mutable_data(), *future = batch.future.mutable_data(), *base = batch.base.mutable_data(),
         *scales = batch.scale.mutable_data(), *targets = batch.target.mutable_data();
    auto* groups = batch.groups.mutable_data();
    for (size_t k = 0; k < series.size(); ++k) {
      auto i = series[k], origin = origins[k];
      require<IndexError>(i >= 0 && i < panel_.size() && origin >= length && origin + horizon <= panel_.days(),
                          "Windows: series ", i, " at day ", origin, ", but there are ", panel_.size(),
                          " series, and days from ", length, " to ", panel_.days() - horizon, " fit");
      auto sales = panel_.history(i);
      float sum = 0;
      for (auto t = origin - length; t < origin; ++t) sum += sales[static_cast<size_t>(t)];
      auto scale = sum / static_cast<float>(length) + 0.5f;
      scales[k] = scale;
      for (auto t = origin - length; t < origin; ++t) {
        *past++ = std::log1p(sales[static_cast<size_t>(t)] / scale);
        *past++ = totals_[static_cast<size_t>(t)];
        past = put_day(i, t, past);
      }
      for (auto t = origin; t < origin + horizon; ++t) {
        auto [median, mean] = weekday_median_and_mean(sales, origin, t, options_.weeks);
        *base++ = std::log1p(median / scale);
        future = put_day(i, t, future);
        *future++ = std::log1p(median / scale);
        *future++ = std::log1p(mean / scale);
        *future++ = static_cast<float>(t - origin) / static_cast<float>(horizon);
        *future++ = std::log1p(scale) / 5;
        *targets++ = sales[static_cast<size_t>(t)];
      }
      const auto& info = panel_.series[static_cast<size_t>(i)];
      groups[3 * k] = info.product;
      groups[3 * k + 1] = info.store;
      groups[3 * k + 2] = info.region;
    }
    return batch;
  }

 private:
  static constexpr int64_t calendar_size = 11;
  int64_t known_size() const { return std::ssize(panel_.known_names); }

  /// What is known of a day in advance.
  float* put_day(int64_t series, int64_t day, float* to) const {
    to = std::copy_n(calendar_.data() + day * calendar_size, calendar_size, to);
    return std::copy_n(panel_.known.data() + (series * panel_.days() + day) * known_size(), known_size(), to);
  }

  const Panel& panel_;
  WindowOptions options_;
  Tensor<float> calendar_;     ///< (days, calendar_size): weekday, season
  std::vector<float> totals_;  ///< of each day: log(1 + mean sales of all series)
};

}  // namespace gradus::forecast::inline GRADUS_BUILD
