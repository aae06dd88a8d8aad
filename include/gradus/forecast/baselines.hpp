// Forecasts that need no network: what a shop would use, and what a network must beat.
#pragma once

#include "gradus/forecast/windows.hpp"

namespace gradus::forecast::detail::inline GRADUS_BUILD {

/// forecast(history of a series, to) -> fills (horizon,) from `origin` on, for every series.
template <class F>
Tensor<float> each_series(const Panel& panel, int64_t origin, int64_t horizon, F&& forecast) {
  require<IndexError>(origin >= 1 && origin <= panel.days(), "forecast: day ", origin, " of ", panel.days());
  auto y = Tensor<float>::empty({panel.size(), horizon});
  auto* to = y.mutable_data();
  parallel_for(panel.size(), 8, [&](int64_t first, int64_t last) {
    for (auto i = first; i < last; ++i) forecast(panel.history(i).first(static_cast<size_t>(origin)), to + i * horizon);
  });
  return y;
}

/// Additive Holt-Winters with a season of a week, from the end of a series.
struct HoltWinters {
  double alpha, beta, gamma;
  double level = 0, trend = 0, season[7] = {};

  /// Runs over the days and returns the mean absolute error of one-day forecasts behind the first four weeks.
  double run(std::span<const float> y) {
    auto n = std::ssize(y);
    auto weeks = std::min<int64_t>(4, n / 7);
    level = trend = 0;
    std::fill_n(season, 7, 0.0);
    if (weeks == 0) {
      for (auto x : y) level += static_cast<double>(x) / static_cast<double>(n);
      return 0;
    }
    for (int64_t t = 0; t < 7 * weeks; ++t)
      level += static_cast<double>(y[static_cast<size_t>(t)]) / (7.0 * static_cast<double>(weeks));
    for (int64_t t = 0; t < 7 * weeks; ++t)
      season[t % 7] += (static_cast<double>(y[static_cast<size_t>(t)]) - level) / static_cast<double>(weeks);
    double error = 0;
    for (auto t = 7 * weeks; t < n; ++t) {
      auto x = static_cast<double>(y[static_cast<size_t>(t)]);
      auto& s = season[t % 7];
      error += std::abs(x - std::max(0.0, level + trend + s));
      auto before = level;
      level = alpha * (x - s) + (1 - alpha) * (level + trend);
      trend = beta * (level - before) + (1 - beta) * trend;
      s = gamma * (x - level) + (1 - gamma) * s;
    }
    return error;
  }
};

/// Teunter, Syntetos and Babai (2011): probability and size of a sale, smoothed apart. Returns the sum of absolute
/// errors.
inline double run_tsb(std::span<const float> y, double alpha, double beta, double& probability, double& size) {
  probability = 0;
  size = 0;
  double seen = 0, error = 0;
  for (auto value : y) {
    auto x = static_cast<double>(value);
    error += std::abs(x - probability * size);
    auto sold = x > 0 ? 1.0 : 0.0;
    if (x > 0) size = seen == 0 ? x : size + alpha * (x - size);
    seen += sold;
    probability += beta * (sold - probability);
  }
  return error;
}

/// Solves (a + ridge) x = b for a symmetric positive a (n, n), by Cholesky's factors.
inline std::vector<double> solve_symmetric(std::vector<double> a, std::vector<double> b, double ridge) {
  auto n = b.size();
  for (size_t i = 0; i < n; ++i) a[i * n + i] += ridge;
  for (size_t j = 0; j < n; ++j) {
    for (size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    a[j * n + j] = std::sqrt(std::max(a[j * n + j], 1e-12));
    for (size_t i = j + 1; i < n; ++i) {
      for (size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= a[j * n + j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return b;
}

}  // namespace gradus::forecast::detail::inline GRADUS_BUILD

namespace gradus::forecast::inline GRADUS_BUILD {

/// The last week again: (series, horizon) from day `origin` on.
inline Tensor<float> seasonal_naive(const Panel& panel, int64_t origin, int64_t horizon) {
  return detail::each_series(panel, origin, horizon, [&](std::span<const float> past, float* to) {
    for (int64_t h = 0; h < horizon; ++h) {
      auto t = origin - 7 + h % 7;
      to[h] = t >= 0 ? past[static_cast<size_t>(t)] : 0.0f;
    }
  });
}

/// The mean of the last `weeks` same weekdays.
inline Tensor<float> weekday_mean(const Panel& panel, int64_t origin, int64_t horizon, int64_t weeks = 8) {
  return detail::each_series(panel, origin, horizon, [&](std::span<const float> past, float* to) {
    for (int64_t h = 0; h < horizon; ++h) to[h] = weekday_median_and_mean(past, origin, origin + h, weeks).second;
  });
}
/// Their median.
inline Tensor<float> weekday_median(const Panel& panel, int64_t origin, int64_t horizon, int64_t weeks = 8) {
  return detail::each_series(panel, origin, horizon, [&](std::span<const float> past, float* to) {
    for (int64_t h = 0; h < horizon; ++h) to[h] = weekday_median_and_mean(past, origin, origin + h, weeks).first;
  });
}

/// Exponential smoothing of level, trend and weekly season (Holt, 1957; Winters, 1960), the rates chosen for each
/// series by its one-day forecasts of the last `days`.
inline Tensor<float> holt_winters(const Panel& panel, int64_t origin, int64_t horizon, int64_t days = 364) {
  return detail::each_series(panel, origin, horizon, [&](std::span<const float> past, float* to) {
    auto recent = past.last(std::min(past.size(), static_cast<size_t>(days)));
    detail::HoltWinters best{};
    auto least = HUGE_VAL;
    for (auto alpha : {0.02, 0.05, 0.1, 0.2, 0.4}) {
      for (auto beta : {0.0, 0.01, 0.05}) {
        for (auto gamma : {0.02, 0.05, 0.1, 0.3}) {
          detail::HoltWinters now{alpha, beta, gamma};
          auto error = now.run(recent);
          if (error >= least) continue;
          least = error;
          best = now;
        }
      }
    }
    for (int64_t h = 0; h < horizon; ++h) {
      auto season = best.season[(std::ssize(recent) + h) % 7];
      to[h] = static_cast<float>(std::max(0.0, best.level + best.trend * static_cast<double>(h + 1) + season));
    }
  });
}

/// For products that sell now and then (Teunter, Syntetos and Babai, 2011, after Croston, 1972): the same every day,
/// the rates chosen for each series.
inline Tensor<float> croston_tsb(const Panel& panel, int64_t origin, int64_t horizon, int64_t days = 364) {
  return detail::each_series(panel, origin, horizon, [&](std::span<const float> past, float* to) {
    auto recent = past.last(std::min(past.size(), static_cast<size_t>(days)));
    auto least = HUGE_VAL, forecast = 0.0;
    for (auto alpha : {0.02, 0.05, 0.1, 0.2, 0.4}) {
      for (auto beta : {0.01, 0.02, 0.05, 0.1, 0.2}) {
        double probability = 0, size = 0;
        auto error = detail::run_tsb(recent, alpha, beta, probability, size);
        if (error >= least) continue;
        least = error;
        forecast = probability * size;
      }
    }
    std::fill_n(to, horizon, static_cast<float>(forecast));
  });
}

/// Least squares on what the network sees of a day, and the mean of the last one, four and all weeks of the history; of
/// log(1 + sales / scale), so that few large days do not rule.
class LinearRegression {
 public:
  /// Fitted to windows with origins in [first, last), `samples` of them drawn at random.
  LinearRegression(const Windows& windows, int64_t first, int64_t last, int64_t samples = 20000, uint64_t seed = 1)
      : windows_(windows) {
    auto width = static_cast<size_t>(windows.future_size() + 4);
    std::vector<double> a(width * width), b(width);
    RandomStream stream{seed, 0};
    for (int64_t at = 0; at < samples; at += 256) {
      std::vector<int64_t> series, origins;
      for (auto i = at; i < std::min(at + 256, samples); ++i) {
        series.push_back(static_cast<int64_t>(stream.below(2 * i, static_cast<uint64_t>(windows.panel().size()))));
        origins.push_back(first + static_cast<int64_t>(stream.below(2 * i + 1, static_cast<uint64_t>(last - first))));
      }
      auto batch = windows.batch(series, origins);
      each_day(batch, [&](const std::vector<double>& x, int64_t place, double scale) {
        auto y = std::log1p(static_cast<double>(batch.target.data()[place]) / scale);
        for (size_t i = 0; i < width; ++i) {
          b[i] += x[i] * y;
          for (size_t k = 0; k <= i; ++k) a[i * width + k] += x[i] * x[k];
        }
      });
    }
    for (size_t i = 0; i < width; ++i) {
      for (size_t k = 0; k < i; ++k) a[k * width + i] = a[i * width + k];
    }
    weights_ = detail::solve_symmetric(a, b, 1e-3 * static_cast<double>(samples));
  }

  Tensor<float> operator()(int64_t origin) const {
    auto count = windows_.panel().size(), horizon = windows_.options().horizon;
    std::vector<int64_t> series(static_cast<size_t>(count)), origins(static_cast<size_t>(count), origin);
    for (int64_t i = 0; i < count; ++i) series[static_cast<size_t>(i)] = i;
    auto y = Tensor<float>::empty({count, horizon});
    auto* to = y.mutable_data();
    each_day(windows_.batch(series, origins), [&](const std::vector<double>& x, int64_t place, double scale) {
      double z = 0;
      for (size_t i = 0; i < x.size(); ++i) z += x[i] * weights_[i];
      to[place] = static_cast<float>(std::max(0.0, std::expm1(z) * scale));
    });
    return y;
  }

 private:
  /// f(features of a day, its place in (n, horizon), scale)
  template <class F>
  void each_day(const WindowBatch& batch, F&& f) const {
    auto n = batch.past.size(0), length = batch.past.size(1), width = batch.past.size(2);
    auto horizon = batch.future.size(1), future = batch.future.size(2);
    std::vector<double> x;
    for (int64_t k = 0; k < n; ++k) {
      double means[3] = {};
      int64_t spans[3] = {7, std::min<int64_t>(28, length), length};
      for (int s = 0; s < 3; ++s) {
        for (auto t = length - spans[s]; t < length; ++t)
          means[s] += static_cast<double>(batch.past.data()[(k * length + t) * width]) / static_cast<double>(spans[s]);
      }
      for (int64_t h = 0; h < horizon; ++h) {
        x.assign({1.0, means[0], means[1], means[2]});
        auto* of_day = batch.future.data() + (k * horizon + h) * future;
        x.insert(x.end(), of_day, of_day + future);
        f(x, k * horizon + h, static_cast<double>(batch.scale.data()[k]));
      }
    }
  }

  const Windows& windows_;
  std::vector<double> weights_;
};

}  // namespace gradus::forecast::inline GRADUS_BUILD
