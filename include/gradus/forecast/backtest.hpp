// How good forecasts would have been: made again and again on days of the past, with what was known then.
#pragma once

#include "gradus/core/rng.hpp"
#include "gradus/forecast/panel.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

/// What a way of forecasting came to over all origins.
struct Accuracy {
  std::string name;
  double weighted_mae =
      0;              ///< mean absolute error of a day, each series weighted by its share of the units sold before
  double wape = 0;    ///< sum of absolute errors / sum of sales
  double wrmsse = 0;  ///< root mean squared error over that of the last day again, weighted as in M5 (series alone)
  double bias = 0;    ///< sum of errors / sum of sales
  std::vector<std::vector<double>> mae = {};  ///< [origin][series], of the days of a forecast
  std::vector<double> regions = {};           ///< weighted_mae within each region
};

struct Interval {
  double low = 0, high = 0;
};

struct BacktestOptions {
  int64_t first = 0, last = 0;  ///< days that are forecast: origins from first on, none reaches `last`
  int64_t horizon = 14, step = 7;
};

/// Rolling origins: forecasts from each of them are compared with what was sold.
class Backtest {
 public:
  /// `actual` (series, days) is what counts: with outliers, where the panel's were cut.
  Backtest(const Panel& panel, Tensor<float> actual, const BacktestOptions& options)
      : panel_(panel), actual_(std::move(actual)), options_(options) {
    for (auto origin = options.first; origin + options.horizon <= options.last; origin += options.step)
      origins_.push_back(origin);
    require<ValueError>(!origins_.empty() && options.first > 1 && options.last <= panel.days(),
                        "Backtest: no origin from ", options.first, " to ", options.last, " of ", panel.days(),
                        " days");
    double all = 0, all_value = 0;
    for (int64_t i = 0; i < panel.size(); ++i) {
      double units = 0, value = 0, changes = 0;
      int64_t begins = 0, count = 0;
      while (begins < options.first && at(i, begins) == 0) ++begins;
      for (auto t = std::max<int64_t>(0, options.first - 364); t < options.first; ++t) units += at(i, t);
      for (auto t = std::max<int64_t>(0, options.first - 28); t < options.first; ++t)
        value += at(i, t) * static_cast<double>(panel.price.data()[i * panel.days() + t]);
      for (auto t = begins + 1; t < options.first; ++t, ++count) {
        auto change = at(i, t) - at(i, t - 1);
        changes += change * change;
      }
      weights_.push_back(units);
      values_.push_back(value);
      scales_.push_back(count > 0 && changes > 0 ? std::sqrt(changes / static_cast<double>(count)) : 0);
      all += units;
      all_value += value;
    }
    for (auto& weight : weights_) weight /= std::max(all, 1e-12);
    for (auto& value : values_) value /= std::max(all_value, 1e-12);
  }

  const std::vector<int64_t>& origins() const { return origins_; }
  const std::vector<double>& weights() const { return weights_; }
  double at(int64_t series, int64_t day) const {
    return static_cast<double>(actual_.data()[series * panel_.days() + day]);
  }

  /// forecast(origin) -> (series, horizon). On days that are known to be closed every forecast counts as 0.
  template <class F>
  Accuracy run(std::string name, F&& forecast) const {
    auto closed = panel_.known_index("closed");
    auto count = panel_.size(), horizon = options_.horizon;
    Accuracy result{.name = std::move(name)};
    std::vector<double> squares(static_cast<size_t>(count)), absolute(static_cast<size_t>(count));
    double errors = 0, bias = 0, sales = 0;
    for (auto origin : origins_) {
      auto y = contiguous(forecast(origin));
      require<ShapeError>(y.shape() == Shape{count, horizon}, "Backtest: a forecast is ", y.shape(), ", but must be ",
                          Shape{count, horizon});
      auto& mae = result.mae.emplace_back();
      for (int64_t i = 0; i < count; ++i) {
        double sum = 0;
        for (int64_t h = 0; h < horizon; ++h) {
          auto shut = closed >= 0 && panel_.known_at(i, origin + h, closed) > 0;
          auto error = (shut ? 0.0 : static_cast<double>(y.data()[i * horizon + h])) - at(i, origin + h);
          sum += std::abs(error);
          bias += error;
          squares[static_cast<size_t>(i)] += error * error;
          sales += at(i, origin + h);
        }
        errors += sum;
        mae.push_back(sum / static_cast<double>(horizon));
        absolute[static_cast<size_t>(i)] += mae.back() / static_cast<double>(origins_.size());
      }
    }
    result.wape = errors / std::max(sales, 1e-12);
    result.bias = bias / std::max(sales, 1e-12);
    std::vector<double> sums(panel_.regions.size()), shares(panel_.regions.size());
    for (size_t i = 0; i < weights_.size(); ++i) {
      result.weighted_mae += weights_[i] * absolute[i];
      auto region = static_cast<size_t>(panel_.series[i].region);
      sums[region] += weights_[i] * absolute[i];
      shares[region] += weights_[i];
      auto rmse = std::sqrt(squares[i] / static_cast<double>(horizon * std::ssize(origins_)));
      if (scales_[i] > 0) result.wrmsse += values_[i] * rmse / scales_[i];
    }
    for (size_t r = 0; r < sums.size(); ++r) result.regions.push_back(sums[r] / std::max(shares[r], 1e-12));
    return result;
  }

  /// The middle 95 % of the gain of `better` over `worse` in weighted_mae when series and origins are drawn anew, with
  /// replacement (bootstrap).
  Interval gain_interval(const Accuracy& better, const Accuracy& worse, int64_t rounds = 1000,
                         uint64_t seed = 1) const {
    RandomStream stream{seed, 0};
    auto n = panel_.size(), origins = std::ssize(origins_);
    std::vector<double> gains;
    for (int64_t round = 0; round < rounds; ++round) {
      auto word = round * (n + origins);
      std::vector<size_t> when;
      for (int64_t o = 0; o < origins; ++o)
        when.push_back(static_cast<size_t>(stream.below(word + o, static_cast<uint64_t>(origins))));
      double a = 0, b = 0;
      for (int64_t k = 0; k < n; ++k) {
        auto i = static_cast<size_t>(stream.below(word + origins + k, static_cast<uint64_t>(n)));
        for (auto o : when) {
          a += weights_[i] * better.mae[o][i];
          b += weights_[i] * worse.mae[o][i];
        }
      }
      gains.push_back(1 - a / std::max(b, 1e-12));
    }
    std::sort(gains.begin(), gains.end());
    auto place = [&](double share) { return gains[static_cast<size_t>(share * static_cast<double>(rounds - 1))]; };
    return {place(0.025), place(0.975)};
  }

  /// Share of open days with low <= sales <= high; quantiles(origin) -> (series, horizon, 3).
  template <class F>
  double coverage(F&& quantiles) const {
    auto closed = panel_.known_index("closed");
    int64_t inside = 0, all = 0;
    for (auto origin : origins_) {
      auto y = contiguous(quantiles(origin));
      for (int64_t i = 0; i < panel_.size(); ++i) {
        for (int64_t h = 0; h < options_.horizon; ++h) {
          if (closed >= 0 && panel_.known_at(i, origin + h, closed) > 0) continue;
          auto* q = y.data() + (i * options_.horizon + h) * 3;
          auto x = at(i, origin + h);
          // Units are whole: a bound of 2.4 stands for 2.
          inside += x >= std::floor(static_cast<double>(q[0])) && x <= std::ceil(static_cast<double>(q[2])) ? 1 : 0;
          ++all;
        }
      }
    }
    return all == 0 ? 0 : static_cast<double>(inside) / static_cast<double>(all);
  }

 private:
  const Panel& panel_;
  Tensor<float> actual_;
  BacktestOptions options_;
  std::vector<int64_t> origins_;
  std::vector<double> weights_, values_, scales_;
};

/// Moves the low and high quantiles away from the middle, or towards it, by a factor: (series, horizon, 3).
inline Tensor<float> widen(const Tensor<float>& quantiles, double factor) {
  auto y = quantiles.clone();
  auto* q = y.mutable_data();
  auto by = static_cast<float>(factor);
  for (int64_t i = 0; i < y.numel(); i += 3) {
    q[i] = std::max(0.0f, q[i + 1] - by * (q[i + 1] - q[i]));
    q[i + 2] = q[i + 1] + by * (q[i + 2] - q[i + 1]);
  }
  return y;
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
