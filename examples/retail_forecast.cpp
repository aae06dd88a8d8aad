// Retail demand: forecasts of the daily sales of hundreds of products two weeks ahead by an ensemble of LSTMs, against
// what a shop would use; on the invoices of a real shop and on a chain of shops made by rules. See `--help`, and
// docs/guide/forecasting.md.

#include <atomic>
#include <csignal>
#include <filesystem>
#include <iostream>

#include "gradus/forecast/backtest.hpp"
#include "gradus/forecast/baselines.hpp"
#include "gradus/forecast/competitions.hpp"
#include "gradus/forecast/generator.hpp"
#include "gradus/forecast/online_retail.hpp"
#include "gradus/forecast/quantile_lstm.hpp"
#include "gradus/io/json.hpp"
#include "gradus/io/model.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/checkpoint.hpp"
#include "gradus/train/progress.hpp"
#include "gradus/train/report.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string data = "data/online-retail/online_retail.csv", out = "runs/retail_forecast";
  std::string layout = "online-retail", stores_file, calendar, prices;
  int64_t series = 200, stores = 20, products = 15, days = 5 * 365, steps = 600, seeds = 3, batch = 256, threads = 0;
  std::vector<int64_t> histories = {28, 56, 84, 112};
  bool real = true, generated = true, quick = false;
  uint64_t seed = 1;
};

constexpr auto help = R"(usage: retail_forecast [options]

  --data FILE      invoice lines in the layout of Online Retail II (data/online-retail/online_retail.csv)
  --layout NAME    of FILE: online-retail, rossmann (train.csv; --stores-file store.csv), or m5 (sales_train_*.csv;
                   --calendar calendar.csv and --prices sell_prices.csv)
  --only NAME      real or generated: one of the two data sets
  --series N       series of the real data that are forecast: those that sell on most days (200)
  --stores N  --products N  --days N    size of the generated chain (20, 15, 1825)
  --steps N        training steps of each network (600)
  --seeds N        networks for each of the two chosen lengths of history (3)
  --out DIR        where report.html and summary.json go (runs/retail_forecast)
  --seed N         start of all random numbers (1)
  --threads N      threads (one a core)
  --quick          a small generated chain and tiny networks: to see that it works
)";

constexpr int64_t horizon = 14, test_days = 84;

double seconds_now() { return training::detail::steady_seconds(); }

/// A network, the windows it reads, and its optimizer, so that it can learn on.
struct Member {
  forecast::Windows windows;
  forecast::QuantileLstm<float> model;
  optim::AdamW<float> adam;

  Member(const forecast::Panel& panel, int64_t history, uint64_t seed)
      : windows(panel, {.history = history, .horizon = horizon}), model(make(windows, panel, seed)), adam(model) {}
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  static forecast::QuantileLstm<float> make(const forecast::Windows& windows, const forecast::Panel& panel,
                                            uint64_t seed) {
    manual_seed(seed);
    forecast::QuantileLstm<float> model(windows.past_size(), windows.future_size(), {.groups = panel.groups()});
    to(model, Device::best());
    return model;
  }
  /// Learns from windows whose days all lie before `end`; returns the seconds.
  double learn(int64_t end, const forecast::TrainOptions& options, int64_t first = 0) {
    auto began = seconds_now();
    first = std::max(first, windows.options().history);
    forecast::train_quantile_lstm(model, adam, windows, first, end - horizon + 1, options);
    return seconds_now() - began;
  }
};

using Ensemble = std::vector<std::unique_ptr<Member>>;

/// The mean of the members' quantiles: (series, horizon, 3).
Tensor<float> forecast_quantiles(const Ensemble& ensemble, int64_t origin) {
  Tensor<float> sum;
  for (const auto& member : ensemble) {
    auto y = forecast::forecast_all(member->model, member->windows, origin);
    sum = sum.defined() ? sum + y : y;
  }
  return sum / static_cast<double>(ensemble.size());
}
Tensor<float> middle(const Tensor<float>& quantiles) { return contiguous(select(quantiles, 2, 1)); }

/// Trains members under one progress bar.
class Trainer {
 public:
  Trainer(const std::string& title, int64_t members, const Options& options)
      : options_(options), progress_(members * options.steps, {.title = title, .unit = "steps"}) {}

  std::unique_ptr<Member> train(const forecast::Panel& panel, int64_t history, int64_t number, int64_t end) {
    auto member = std::make_unique<Member>(panel, history, options_.seed + static_cast<uint64_t>(number));
    seconds_ += member->learn(end, {.steps = options_.steps,
                                    .batch = options_.batch,
                                    .seed = 1000 * options_.seed + static_cast<uint64_t>(number),
                                    .after_step = [&](int64_t, double loss) {
                                      progress_.advance(1, [&] { return join("loss ", std::round(1e4 * loss) / 1e4); });
                                    }});
    return member;
  }
  double seconds() const { return seconds_; }

 private:
  const Options& options_;
  training::Progress progress_;
  double seconds_ = 0;
};

std::string row(const std::string& name, std::initializer_list<double> values) {
  char buffer[128];
  std::snprintf(buffer, sizeof(buffer), "%-34s", name.c_str());
  std::string line = buffer;
  for (auto value : values) {
    std::snprintf(buffer, sizeof(buffer), "%11.4f", value);
    line += buffer;
  }
  return line + '\n';
}

/// What one data set came to: for summary.json and for the report.
struct Outcome {
  io::Json summary;
  std::string table, regions, updates;
  std::vector<training::NamedText> figures;
  std::vector<training::Chart> charts;
};

/// A factor for the spread of the quantiles that makes them hold 80 % of the validation days.
double calibrate(const forecast::Backtest& validation, const Ensemble& ensemble) {
  std::vector<std::pair<int64_t, Tensor<float>>> made;
  for (auto origin : validation.origins()) made.emplace_back(origin, forecast_quantiles(ensemble, origin));
  double best = 1, least = HUGE_VAL;
  for (double factor = 0.4; factor < 2.5; factor *= 1.05) {
    auto inside = validation.coverage([&](int64_t origin) {
      auto found = std::find_if(made.begin(), made.end(), [&](const auto& one) { return one.first == origin; });
      return forecast::widen(found->second, factor);
    });
    if (std::abs(inside - 0.8) < least) {
      least = std::abs(inside - 0.8);
      best = factor;
    }
  }
  return best;
}

training::Chart chart_of(const forecast::Panel& panel, const Tensor<float>& actual, const Ensemble& ensemble,
                         double factor, int64_t series, int64_t first, int64_t last) {
  training::Chart chart{.title = panel.series[static_cast<size_t>(series)].name,
                        .x_label = "day of the test period",
                        .y_label = "units",
                        .series = {{"sold", {}, {}}, {"forecast", {}, {}}, {"10 %", {}, {}}, {"90 %", {}, {}}}};
  auto closed = panel.known_index("closed");
  for (auto origin = first; origin + horizon <= last; origin += horizon) {
    auto y = forecast::widen(forecast_quantiles(ensemble, origin), factor);
    for (int64_t h = 0; h < horizon; ++h) {
      auto shut = closed >= 0 && panel.known_at(series, origin + h, closed) > 0;
      double values[4] = {static_cast<double>(actual.data()[series * panel.days() + origin + h]), y(series, h, 1),
                          y(series, h, 0), y(series, h, 2)};
      for (size_t k = 0; k < 4; ++k) {
        chart.series[k].x.push_back(static_cast<double>(origin - first + h));
        chart.series[k].y.push_back(shut && k > 0 ? 0 : values[k]);
      }
    }
  }
  return chart;
}

/// Week after week new sales arrive: what is gained by learning on from the saved state, and what it costs, beside the
/// network as it was and one trained anew.
io::Json try_updates(const forecast::Panel& panel, const forecast::Backtest& test, int64_t history, int64_t end,
                     const Options& options, std::string& text) {
  auto state = options.out + "/update";
  auto steps = std::max<int64_t>(options.steps / 20, 2);
  auto quick = forecast::TrainOptions{.steps = steps, .batch = options.batch, .lr = 1e-4, .last_lr = 1e-4};
  Member kept(panel, history, options.seed);
  auto first_cost = kept.learn(end, {.steps = options.steps, .batch = options.batch, .seed = options.seed});
  {
    training::Checkpoint checkpoint(state);
    checkpoint.add("model", kept.model).add("optimizer", kept.adam);
    checkpoint.save();
  }
  std::map<int64_t, Tensor<float>> updated, anew, as_it_was;
  double update_cost = 0, anew_cost = 0;
  const auto& origins = test.origins();
  std::vector<int64_t> compared(origins.end() - std::min<std::ptrdiff_t>(3, std::ssize(origins)), origins.end());
  for (auto origin : origins) {
    as_it_was[origin] = middle(forecast::forecast_all(kept.model, kept.windows, origin));
    // Another process would begin here: with the file, not with what is in memory.
    Member next(panel, history, 12345);
    training::Checkpoint checkpoint(state);
    checkpoint.add("model", next.model).add("optimizer", next.adam);
    require<FormatError>(static_cast<bool>(checkpoint.resume()), "the state of the update is gone");
    quick.seed = options.seed + static_cast<uint64_t>(origin);
    if (origin > end)
      update_cost += next.learn(origin, quick, origin - 182);  // the last half year, the new week with it
    checkpoint.save();
    updated[origin] = middle(forecast::forecast_all(next.model, next.windows, origin));
    if (std::find(compared.begin(), compared.end(), origin) == compared.end()) continue;
    Member fresh(panel, history, options.seed);
    anew_cost += fresh.learn(origin, {.steps = options.steps, .batch = options.batch, .seed = options.seed});
    anew[origin] = middle(forecast::forecast_all(fresh.model, fresh.windows, origin));
    if (origin == origins.back()) checkpoint.remove();
  }
  auto weeks = static_cast<double>(std::max<std::ptrdiff_t>(std::ssize(origins) - 1, 1));
  auto score = [&](const std::map<int64_t, Tensor<float>>& made, const std::vector<int64_t>& of) {
    // weighted_mae over some of the origins: others count with their own forecast, and are taken off again
    auto accuracy =
        test.run("", [&](int64_t origin) { return made.contains(origin) ? made.at(origin) : as_it_was.at(origin); });
    double sum = 0;
    for (size_t o = 0; o < origins.size(); ++o) {
      if (std::find(of.begin(), of.end(), origins[o]) == of.end()) continue;
      for (size_t i = 0; i < test.weights().size(); ++i) sum += test.weights()[i] * accuracy.mae[o][i];
    }
    return sum / static_cast<double>(of.size());
  };
  auto frozen_all = score(as_it_was, origins), updated_all = score(updated, origins);
  auto updated_late = score(updated, compared), anew_late = score(anew, compared),
       frozen_late = score(as_it_was, compared);
  text = "                                    all weeks  last weeks  seconds a week\n" +
         row("as it was before the test", {frozen_all, frozen_late, 0.0}) +
         row("learning on from its saved state", {updated_all, updated_late, update_cost / weeks});
  auto line = row("", {anew_late, anew_cost / static_cast<double>(compared.size())});
  text += row("trained anew each week", {}).substr(0, 34) + "           " + line.substr(34);
  return io::Json::object({{"weighted_mae_frozen", frozen_all},
                           {"weighted_mae_updated", updated_all},
                           {"last_weeks_frozen", frozen_late},
                           {"last_weeks_updated", updated_late},
                           {"last_weeks_from_scratch", anew_late},
                           {"seconds_per_update", update_cost / weeks},
                           {"seconds_from_scratch", anew_cost / static_cast<double>(compared.size())},
                           {"seconds_first_training", first_cost}});
}

Outcome study(const std::string& name, forecast::Panel panel, const Options& options) {
  auto actual = panel.sales;
  auto test_first = panel.days() - test_days, validation_first = test_first - test_days;
  auto cut = forecast::cut_outliers(panel, test_first);
  forecast::Backtest validation(panel, actual, {.first = validation_first, .last = test_first, .horizon = horizon});
  forecast::Backtest test(panel, actual, {.first = test_first, .last = panel.days(), .horizon = horizon});
  std::cout << name << ": " << panel.size() << " series, " << panel.days() << " days from "
            << forecast::to_string(panel.first_day) << " on; " << cut << " outliers cut; test from "
            << forecast::to_string(panel.first_day + test_first) << " on, " << test.origins().size() << " origins\n";

  // Choices are made on the validation period; the test period is looked at once.
  std::vector<std::pair<double, int64_t>> tried;
  std::string choice;
  {
    Trainer trainer(name + ", choosing", std::ssize(options.histories), options);
    for (auto history : options.histories) {
      Ensemble one;
      one.push_back(trainer.train(panel, history, history, validation_first));
      auto accuracy = validation.run("", [&](int64_t origin) { return middle(forecast_quantiles(one, origin)); });
      tried.emplace_back(accuracy.weighted_mae, history);
      choice += row(join("history of ", history, " days"), {accuracy.weighted_mae});
    }
  }
  std::sort(tried.begin(), tried.end());
  if (tried.size() > 2) tried.resize(2);
  Ensemble rehearsal, ensemble;
  double seconds = 0;
  {
    Trainer trainer(name + ", spread of the quantiles", std::ssize(tried), options);
    int64_t number = 100;
    for (const auto& [error, history] : tried)
      rehearsal.push_back(trainer.train(panel, history, number++, validation_first));
  }
  auto factor = calibrate(validation, rehearsal);
  {
    Trainer trainer(name + ", ensemble", options.seeds * std::ssize(tried), options);
    for (int64_t k = 0; k < options.seeds * std::ssize(tried); ++k)
      ensemble.push_back(
          trainer.train(panel, tried[static_cast<size_t>(k) % tried.size()].second, 1000 + k, test_first));
    seconds = trainer.seconds();
  }

  forecast::Windows windows(panel, {.history = 56, .horizon = horizon});
  forecast::LinearRegression regression(windows, 56, test_first - horizon + 1);
  std::vector<forecast::Accuracy> baselines;
  baselines.push_back(
      test.run("seasonal naive", [&](int64_t o) { return forecast::seasonal_naive(panel, o, horizon); }));
  baselines.push_back(
      test.run("mean of 8 weekdays", [&](int64_t o) { return forecast::weekday_mean(panel, o, horizon); }));
  baselines.push_back(
      test.run("median of 8 weekdays", [&](int64_t o) { return forecast::weekday_median(panel, o, horizon); }));
  baselines.push_back(test.run("Holt-Winters", [&](int64_t o) { return forecast::holt_winters(panel, o, horizon); }));
  baselines.push_back(test.run("Croston (TSB)", [&](int64_t o) { return forecast::croston_tsb(panel, o, horizon); }));
  baselines.push_back(test.run("linear regression", [&](int64_t o) { return regression(o); }));
  auto ours =
      test.run("ensemble of LSTMs", [&](int64_t origin) { return middle(forecast_quantiles(ensemble, origin)); });
  const auto& naive = baselines[0];
  const auto& best = *std::min_element(baselines.begin(), baselines.end(),
                                       [](const auto& a, const auto& b) { return a.weighted_mae < b.weighted_mae; });
  auto gain = [&](const forecast::Accuracy& other) { return 1 - ours.weighted_mae / other.weighted_mae; };
  auto interval = test.gain_interval(ours, naive), over_best = test.gain_interval(ours, best);
  auto coverage =
      test.coverage([&](int64_t origin) { return forecast::widen(forecast_quantiles(ensemble, origin), factor); });

  Outcome outcome;
  outcome.table = "                                 weighted MAE       WAPE     WRMSSE       bias   gain over naive\n";
  std::vector<const forecast::Accuracy*> all;
  for (const auto& one : baselines) all.push_back(&one);
  all.push_back(&ours);
  for (const auto* one : all)
    outcome.table += row(
        one->name, {one->weighted_mae, one->wape, one->wrmsse, one->bias, 1 - one->weighted_mae / naive.weighted_mae});
  outcome.table += "\nTried on the validation period (weighted MAE):\n" + choice;
  outcome.regions = "weighted MAE of a region             ensemble       best      naive\n";
  for (size_t r = 0; r < panel.regions.size(); ++r)
    outcome.regions += row(panel.regions[r], {ours.regions[r], best.regions[r], naive.regions[r]});
  auto incremental = try_updates(panel, test, tried[0].second, test_first, options, outcome.updates);
  std::cout << '\n' << outcome.table << '\n' << outcome.regions << '\n' << outcome.updates;
  std::printf(
      "\n%s: %.1f %% more accurate than seasonal naive (95 %% of resamples: %.1f to %.1f %%), %.1f %% than %s; "
      "intervals of 80 %% hold %.1f %%\n\n",
      name.c_str(), 100 * gain(naive), 100 * interval.low, 100 * interval.high, 100 * gain(best), best.name.c_str(),
      100 * coverage);
  std::cout.flush();

  outcome.summary = io::Json::object({{"gain_over_seasonal_naive", gain(naive)},
                                      {"gain_over_best_baseline", gain(best)},
                                      {"best_baseline", best.name},
                                      {"interval_coverage", coverage},
                                      {"weighted_mae", ours.weighted_mae},
                                      {"wrmsse", ours.wrmsse},
                                      {"wrmsse_seasonal_naive", naive.wrmsse},
                                      {"series", panel.size()},
                                      {"days", panel.days()},
                                      {"members", std::ssize(ensemble)},
                                      {"seconds", seconds}});
  outcome.summary.set("gain_interval", io::Json::array({interval.low, interval.high}));
  outcome.summary.set("gain_over_best_interval", io::Json::array({over_best.low, over_best.high}));
  outcome.summary.set("incremental", incremental);
  auto percent = [](double share) { return training::detail::fixed(100 * share, 1) + " %"; };
  outcome.figures = {{name + ": gain over seasonal naive", percent(gain(naive))},
                     {name + ": gain over " + best.name, percent(gain(best))},
                     {name + ": coverage of 80 % intervals", percent(coverage)}};
  std::vector<int64_t> shown(static_cast<size_t>(panel.size()));
  for (size_t i = 0; i < shown.size(); ++i) shown[i] = static_cast<int64_t>(i);
  std::sort(shown.begin(), shown.end(), [&](int64_t a, int64_t b) {
    return std::pair(-test.weights()[static_cast<size_t>(a)], a) <
           std::pair(-test.weights()[static_cast<size_t>(b)], b);
  });
  for (size_t k = 0; k < std::min<size_t>(2, shown.size()); ++k)
    outcome.charts.push_back(chart_of(panel, actual, ensemble, factor, shown[k], test_first, panel.days()));
  return outcome;
}

/// The user's file, and in the report what was left out of it.
forecast::Panel read_real(const Options& options, training::Report& report) {
  if (options.layout == "rossmann") return forecast::read_rossmann(options.data, options.stores_file);
  if (options.layout == "m5") return forecast::read_m5(options.data, options.calendar, options.prices);
  auto [panel, cleaning] = forecast::read_online_retail(options.data);
  std::cout << options.data << ":\n" << cleaning.text() << '\n';
  report.listings.push_back({"cleaning", cleaning.text()});
  return panel;
}

int run(const Options& options) {
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  std::filesystem::create_directories(options.out);
  training::Report report{
      .title = "Retail demand",
      .note =
          "Forecasts of daily sales two weeks ahead. Gains are of the mean absolute error, weighted "
          "by sales, in a test period that no choice has seen."};
  auto retail = io::Json::object();
  auto add = [&](const std::string& name, const Outcome& outcome) {
    retail.set(name, outcome.summary);
    report.figures.insert(report.figures.end(), outcome.figures.begin(), outcome.figures.end());
    report.charts.insert(report.charts.end(), outcome.charts.begin(), outcome.charts.end());
    report.listings.push_back({name + ": accuracy", outcome.table});
    report.listings.push_back({name + ": regions", outcome.regions});
    report.listings.push_back({name + ": learning on", outcome.updates});
  };
  if (options.real) {
    auto panel = read_real(options, report);
    auto busiest = panel.busiest(options.series, panel.days() - 2 * test_days);  // chosen by what was known before both
    add("real", study("real", panel.part(busiest), options));
  }
  if (options.generated)
    add("generated",
        study("generated",
              forecast::generate_retail(
                  {.stores = options.stores, .products = options.products, .days = options.days, .seed = options.seed}),
              options));
  report.settings = {{"steps", std::to_string(options.steps)},
                     {"seeds", std::to_string(options.seeds)},
                     {"seed", std::to_string(options.seed)}};
  auto record = io::Json::object({{"retail", retail}});
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  training::write_report(options.out + "/report.html", report);
  std::cout << options.out << ": report.html, summary.json\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("retail_forecast", help, argc, argv, [](training::Arguments& given) {
    Options options;
    if (given.flag("--quick")) {
      options.real = false;
      options.stores = options.products = 3;
      options.days = 600;
      options.steps = 40;
      options.seeds = 1;
      options.batch = 32;
      options.histories = {14, 28};
    }
    std::string only;
    given.read("--data", options.data);
    given.read("--out", options.out);
    if (given.read("--only", only)) {
      require<training::UsageError>(only == "real" || only == "generated", "--only must be real or generated");
      options.real = only == "real";
      options.generated = only == "generated";
    }
    if (given.read("--layout", options.layout)) {
      auto known = options.layout == "online-retail" || options.layout == "rossmann" || options.layout == "m5";
      require<training::UsageError>(known, "--layout must be online-retail, rossmann or m5");
    }
    given.read("--stores-file", options.stores_file);
    given.read("--calendar", options.calendar);
    given.read("--prices", options.prices);
    given.read("--series", options.series, 1, 100000);
    given.read("--stores", options.stores, 1, 10000);
    given.read("--products", options.products, 1, 10000);
    given.read("--days", options.days, 400, 100000);
    given.read("--steps", options.steps, 2, 1000000);
    given.read("--seeds", options.seeds, 1, 1000);
    given.read("--seed", options.seed, 0, uint64_t{1} << 40);
    given.read("--threads", options.threads, 1, 1024);
    given.finish();
    return run(options);
  });
}
