// The parts of retail forecasts: cleaning, features without leakage, baselines, back-tests.
#include <filesystem>
#include <fstream>

#include "gradus/forecast/backtest.hpp"
#include "gradus/forecast/baselines.hpp"
#include "gradus/forecast/generator.hpp"
#include "gradus/forecast/online_retail.hpp"
#include "gradus/forecast/quantile_lstm.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;
using namespace gradus::forecast;

namespace {

/// Series 0 sells 1 more every day, series 1 follows the weekday, series 2 sells on every tenth day.
Panel simple_panel(int64_t days = 140) {
  Panel panel{.first_day = to_day(2024, 1, 1),
              .regions = {"north", "south"},
              .sales = zeros<float>({3, days}),
              .price = ones<float>({3, days}),
              .known_names = {"closed"},
              .known = zeros<float>({3, days, 1})};
  panel.series = {{"rising", 0, 0, 0}, {"weekly", 1, 0, 0}, {"rare", 2, 1, 1}};
  auto* sales = panel.sales.mutable_data();
  for (int64_t t = 0; t < days; ++t) {
    sales[t] = static_cast<float>(t);
    sales[days + t] = static_cast<float>(10 * (t % 7));
    sales[2 * days + t] = t % 10 == 0 ? 5.0f : 0.0f;
  }
  return panel;
}

struct RetailFile {
  std::string path =
      (std::filesystem::temp_directory_path() / ("gradus_retail_" + std::to_string(::getpid()) + ".csv")).string();
  explicit RetailFile(const std::string& content) { std::ofstream(path) << content; }
  ~RetailFile() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("invoice lines become daily sales, and what was wrong is told") {
  RetailFile file(
      "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
      "1,10001,a,3,12/1/2009 7:45,2.0,1,UK\n"
      "1,10001,a,3,12/1/2009 7:45,2.0,1,UK\n"  // twice
      "2,10001,a,4,12/1/2009 9:00,1.0,1,UK\n"  // the same day
      "3,10002B,b,5,12/3/2009 9:00,2.5,1,UK\n"
      "3,10002b,b,1,12/3/2009 9:00,2.5,1,UK\n"  // the same product
      "C4,10001,a,-3,12/2/2009 9:00,2.0,1,UK\n"
      "5,POST,post,1,12/2/2009 9:00,18,1,UK\n"
      "6,10001,a,1,12/2/2009 9:00,0,1,UK\n"
      "7,10001,a,x,12/2/2009 9:00,1,1,UK\n"
      "8,10001,a,1,soon,1,1,UK\n"
      "9,10001,a,1\n");
  auto [panel, report] = read_online_retail(file.path);
  CHECK(report.duplicates == 1);
  CHECK(report.returns == 1);
  CHECK(report.no_products == 1);
  CHECK(report.without_price == 1);
  CHECK(report.unreadable >= 2);
  CHECK(report.closed_days == 1);
  REQUIRE(panel.size() == 2);
  CHECK(panel.first_day == to_day(2009, 12, 1));
  CHECK(test::mismatch(panel.sales, tensor<float>({{7, 0, 0}, {0, 0, 6}})) == "");
  CHECK(test::mismatch(panel.price, tensor<float>({{10.0f / 7, 10.0f / 7, 10.0f / 7}, {0, 0, 2.5}}), {1e-6}) == "");
  CHECK(panel.series[1].name == "10002B");
  CHECK(report.text().find("duplicates                      1\n") != std::string::npos);
}

TEST_CASE("what read_online_retail refuses") {
  RetailFile other("a,b\n1,2\n");
  test::check_error<FormatError>([&] { return read_online_retail(other.path); },
                                 "read_online_retail: " + other.path + " has no column Invoice");
  RetailFile empty("Invoice,StockCode,Quantity,InvoiceDate,Price\nC1,10001,-1,12/1/2009 7:45,1\n");
  test::check_error<FormatError>([&] { return read_online_retail(empty.path); },
                                 "read_online_retail: " + empty.path + " holds no sale");
}

TEST_CASE("the shop's closing days are known in advance") {
  auto first = to_day(2010, 9, 1);
  std::vector<double> totals;
  for (int64_t t = 0; t < 300; ++t) totals.push_back(weekday_of(first + t) == 5 ? 0 : 10);  // nothing on Saturdays
  auto closed = forecast::detail::planned_closing(first, totals, 100, Country::united_kingdom);
  auto on = [&](int y, int m, int d) { return closed[static_cast<size_t>(to_day(y, m, d) - first)]; };
  CHECK(on(2010, 9, 4) == 1);
  CHECK(on(2010, 9, 6) == 0);
  CHECK(on(2010, 12, 29) == 1);
  CHECK(on(2011, 4, 25) == 1);  // Easter Monday
  CHECK(on(2011, 4, 26) == 0);
}

TEST_CASE("nothing of the future but what is known enters what a model reads") {
  auto panel = generate_retail({.stores = 2, .products = 3, .days = 300});
  constexpr int64_t origin = 200;
  std::vector<int64_t> series = {0, 3, 5}, origins(3, origin);
  auto before = Windows(panel, {.history = 30}).batch(series, origins);
  auto linear = LinearRegression(Windows(panel, {.history = 30}), 30, origin - 13, 500);
  Panel changed = panel;
  changed.sales = panel.sales.clone();
  for (int64_t i = 0; i < panel.size(); ++i)
    std::fill_n(changed.sales.mutable_data() + i * 300 + origin, 300 - origin, 1e6f);
  auto after = Windows(changed, {.history = 30}).batch(series, origins);
  CHECK(test::bit_mismatch(after.past, before.past) == "");
  CHECK(test::bit_mismatch(after.future, before.future) == "");
  CHECK(test::bit_mismatch(after.base, before.base) == "");
  CHECK(test::bit_mismatch(after.scale, before.scale) == "");
  CHECK(max(after.target).item() == 1e6f);
  for (auto* baseline : {+[](const Panel& p) { return seasonal_naive(p, origin, 14); },
                         +[](const Panel& p) { return weekday_mean(p, origin, 14); },
                         +[](const Panel& p) { return weekday_median(p, origin, 14); },
                         +[](const Panel& p) { return holt_winters(p, origin, 14); },
                         +[](const Panel& p) { return croston_tsb(p, origin, 14); }})
    CHECK(test::bit_mismatch(baseline(changed), baseline(panel)) == "");
  CHECK(cut_outliers(changed, origin) == cut_outliers(panel, origin));
}

TEST_CASE("what a model reads of a day") {
  auto panel = simple_panel();
  Windows windows(panel, {.history = 14, .horizon = 3, .weeks = 2});
  std::vector<int64_t> series = {1}, origins = {20};
  auto batch = windows.batch(series, origins);
  CHECK(batch.past.shape() == Shape{1, 14, windows.past_size()});
  CHECK(batch.future.shape() == Shape{1, 3, windows.future_size()});
  CHECK(batch.scale(0) == 30.5f);                               // two whole weeks
  CHECK(batch.past(0, 0, 0) == Approx(std::log1p(60 / 30.5)));  // day 6
  CHECK(batch.past(0, 0, 2 + 6) == 1);                          // a Sunday
  CHECK(batch.base(0, 0) == Approx(std::log1p(60 / 30.5)));     // day 20 is one too
  CHECK(test::mismatch(batch.target, tensor<float>({{60, 0, 10}})) == "");
  CHECK(test::mismatch(batch.groups, tensor<int64_t>({{1, 0, 0}})) == "");
  std::vector<int64_t> early = {13};
  test::check_error<IndexError>([&] { return windows.batch(series, early); },
                                "Windows: series 1 at day 13, but there are 3 series, and days from 14 to 137 fit");
}

TEST_CASE("baselines on series that are understood") {
  auto panel = simple_panel();
  auto naive = seasonal_naive(panel, 70, 9);
  CHECK(naive(0, 0) == 63);
  CHECK(naive(0, 8) == 64);  // the last week twice
  CHECK(naive(1, 3) == 30);
  auto means = weekday_mean(panel, 70, 8, 4), medians = weekday_median(panel, 70, 8, 4);
  CHECK(means(0, 0) == Approx((63 + 56 + 49 + 42) / 4.0));
  CHECK(medians(0, 7) == Approx((56 + 49) / 2.0));
  CHECK(medians(1, 5) == 50);
  auto smoothed = holt_winters(panel, 70, 14);
  for (int64_t h = 0; h < 14; ++h) {
    CHECK(smoothed(0, h) == Approx(70 + h).margin(2));  // it follows the trend
    CHECK(smoothed(1, h) == Approx(10 * (h % 7)).margin(0.5));
  }
  auto rare = croston_tsb(panel, 140, 3);
  CHECK(rare(2, 0) == Approx(0.5).margin(0.2));  // 5 every ten days
  CHECK(rare(2, 2) == rare(2, 0));
  CHECK(seasonal_naive(panel, 3, 7)(0, 0) == 0);  // shorter than a week
}

TEST_CASE("holt_winters and tsb as a plain program computes them") {
  // Python: level, trend, season = ...; the same recursions written with lists.
  std::vector<float> y;
  for (int i = 0; i < 42; ++i) y.push_back(static_cast<float>((i * 37) % 11 + i % 7));
  forecast::detail::HoltWinters model{0.2, 0.05, 0.1};
  double level = 0, trend = 0, season[7] = {}, error = 0;
  for (size_t i = 0; i < 28; ++i) level += static_cast<double>(y[i]) / 28;
  for (size_t i = 0; i < 28; ++i) season[i % 7] += (static_cast<double>(y[i]) - level) / 4;
  for (size_t i = 28; i < 42; ++i) {
    auto x = static_cast<double>(y[i]);
    error += std::abs(x - std::max(0.0, level + trend + season[i % 7]));
    auto last = level;
    level = 0.2 * (x - season[i % 7]) + 0.8 * (level + trend);
    trend = 0.05 * (level - last) + 0.95 * trend;
    season[i % 7] = 0.1 * (x - level) + 0.9 * season[i % 7];
  }
  CHECK(model.run(y) == Approx(error));
  CHECK(model.level == Approx(level));
  CHECK(model.season[3] == Approx(season[3]));
  double probability = 0, size = 0;
  std::vector<float> now_and_then = {0, 4, 0, 0, 2};
  auto sum = forecast::detail::run_tsb(now_and_then, 0.5, 0.1, probability, size);
  CHECK(probability == Approx(0.9 * (0.9 * (0.9 * 0.1)) + 0.1));
  CHECK(size == Approx(3));
  CHECK(sum == Approx(0 + 4 + 0.4 + 0.09 * 4 + std::abs(2 - 0.081 * 4)));
}

TEST_CASE("linear regression solves its equations") {
  std::vector<double> a = {4, 1, 1, 3}, b = {1, 2};
  auto x = forecast::detail::solve_symmetric(a, b, 0);
  CHECK(x[0] == Approx(1.0 / 11));
  CHECK(x[1] == Approx(7.0 / 11));
  auto panel = simple_panel();
  Windows windows(panel, {.history = 28});
  LinearRegression regression(windows, 28, 100, 2000);
  auto y = regression(110);
  for (int64_t h = 0; h < 14; ++h) CHECK(y(1, h) == Approx(10 * ((110 + h) % 7)).margin(10));
}

TEST_CASE("a back-test counts errors as it says") {
  auto panel = simple_panel();
  for (int64_t i = 0; i < 3; ++i) panel.known.mutable_data()[i * 140 + 101] = 1;  // closed on day 101
  Backtest backtest(panel, panel.sales, {.first = 100, .last = 118, .horizon = 4, .step = 7});
  CHECK(backtest.origins() == std::vector<int64_t>{100, 107, 114});
  auto zero = backtest.run("nothing", [](int64_t) { return zeros<float>({3, 4}); });
  CHECK(zero.wape == Approx(1));
  CHECK(zero.bias == Approx(-1));
  auto perfect = backtest.run("perfect", [&](int64_t o) { return slice(panel.sales, 1, o, o + 4); });
  double missed = 0;  // what was sold although closed was known
  for (int64_t i = 0; i < 3; ++i) missed += static_cast<double>(panel.sales(i, 101)) / 12;
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) sum += (perfect.mae[0][i] + perfect.mae[1][i] + perfect.mae[2][i]) / 3;
  CHECK(sum == Approx(missed));
  CHECK(perfect.weighted_mae < 0.2 * zero.weighted_mae);
  double weights = 0;
  for (auto w : backtest.weights()) weights += w;
  CHECK(weights == Approx(1));
  CHECK(zero.regions.size() == 2);
  auto interval = backtest.gain_interval(perfect, zero);
  CHECK(interval.low <= 1 - perfect.weighted_mae / zero.weighted_mae);
  CHECK(interval.high >= 1 - perfect.weighted_mae / zero.weighted_mae);
  auto wide = [&](int64_t o) {
    auto y = stack(std::vector{slice(panel.sales, 1, o, o + 4) - 1.0f, slice(panel.sales, 1, o, o + 4),
                               slice(panel.sales, 1, o, o + 4) + 1.0f},
                   2);
    return y;
  };
  CHECK(backtest.coverage(wide) == 1);
  CHECK(backtest.coverage([&](int64_t o) { return wide(o) + 5.0f; }) == 0);
  auto q = widen(tensor<float>({{4, 6, 10}}), 0.5);
  CHECK(test::mismatch(q, tensor<float>({{5, 6, 8}})) == "");
}

TEST_CASE("generated sales are the same for the same seed and obey their rules") {
  GeneratorOptions options{.stores = 4, .products = 4, .days = 730, .seed = 3};
  auto panel = generate_retail(options);
  CHECK(test::bit_mismatch(panel.sales, generate_retail(options).sales) == "");
  options.seed = 4;
  CHECK(test::bit_mismatch(panel.sales, generate_retail(options).sales) != "");
  CHECK(panel.groups() == std::array<int64_t, 3>{4, 4, 4});
  double promoted = 0, usual = 0, promoted_days = 0, usual_days = 0;
  for (int64_t i = 0; i < panel.size(); ++i) {
    for (int64_t t = 0; t < 730; ++t) {
      auto sold = static_cast<double>(panel.sales(i, t));
      if (panel.known_at(i, t, 0) > 0) {
        CHECK(sold == 0);
        continue;
      }
      auto off = panel.known_at(i, t, 1) > 0;
      (off ? promoted : usual) += sold;
      (off ? promoted_days : usual_days) += 1;
    }
  }
  CHECK(promoted / promoted_days > 1.3 * usual / usual_days);
  auto part = panel.part({5, 2});
  CHECK(part.series[0].name == "store 2, line 2");
  CHECK(part.series[0].product == 0);
  CHECK(part.series[1].store == 1);
  CHECK(test::bit_mismatch(slice(part.sales, 0, 1, 2), slice(panel.sales, 0, 2, 3)) == "");
}

TEST_CASE("an LSTM learns a panel, and its quantiles do not cross") {
  auto panel = generate_retail({.stores = 3, .products = 3, .days = 500});
  Windows windows(panel, {.history = 21});
  manual_seed(1);
  QuantileLstm<float> model(windows.past_size(), windows.future_size(),
                            {.hidden = 16, .head = 16, .groups = panel.groups()});
  optim::AdamW<float> adam(model, {.lr = 1e-2});
  std::vector<double> losses;
  train_quantile_lstm(
      model, adam, windows, 21, 400,
      {.steps = 60, .batch = 32, .lr = 1e-2, .after_step = [&](int64_t, double loss) { losses.push_back(loss); }});
  CHECK(losses.back() < 0.9 * losses.front());
  auto y = forecast_all(model, windows, 420);
  CHECK(y.shape() == Shape{9, 14, 3});
  for (int64_t i = 0; i < y.numel(); i += 3)
    CHECK((y.data()[i] <= y.data()[i + 1] && y.data()[i + 1] <= y.data()[i + 2]));
  test::check_error<ValueError>([&] { train_quantile_lstm(model, adam, windows, 40, 40, {}); },
                                "train_quantile_lstm: no origin from 40 to 40");
}

TEST_CASE("single days that say little are cut by what was seen before") {
  auto panel = simple_panel(200);
  auto* sales = panel.sales.mutable_data();
  for (int64_t t = 0; t < 200; ++t) sales[t] = 10;
  sales[100] = 1000;
  sales[150] = 1000;
  CHECK(cut_outliers(panel, 140) == 1);
  CHECK(panel.sales(0, 100) == 30);
  CHECK(panel.sales(0, 150) == 1000);
}
