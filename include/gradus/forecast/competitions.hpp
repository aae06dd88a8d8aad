// Sales in the layouts of two public competitions: M5 (Walmart, 2020) and Rossmann (2015), from a user's files.
#pragma once

#include <map>

#include "gradus/data/csv.hpp"
#include "gradus/forecast/panel.hpp"

namespace gradus::forecast::detail::inline GRADUS_BUILD {

/// Numbers for names, in the order in which they come.
class Numbering {
 public:
  int64_t of(const std::string& name) {
    auto [found, fresh] = numbers_.emplace(name, std::ssize(names_));
    if (fresh) names_.push_back(name);
    return found->second;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::map<std::string, int64_t> numbers_;
  std::vector<std::string> names_;
};

GRADUS_COLD inline data::Table read_columns(const char* reader, const std::string& path,
                                            std::vector<std::pair<std::string, data::ColumnType>> types) {
  data::CsvOptions options{.types = std::move(types), .missing = {"NA", "NaN", "nan"}, .max_bytes = int64_t{8} << 30};
  try {
    return data::read_csv(path, options);
  } catch (FormatError& error) {
    error.add_context(reader);
    throw;
  }
}

}  // namespace gradus::forecast::detail::inline GRADUS_BUILD

namespace gradus::forecast::inline GRADUS_BUILD {

/// Rossmann's stores: train.csv (Store, Date, Sales, Open, Promo, StateHoliday, SchoolHoliday) and store.csv (Store,
/// StoreType). A series a store, its turnover a day; regions are the types of stores. Known in advance: "closed",
/// "promotion", "holiday", "school_holiday". Days without a line are closed. FormatError names what is wrong in a file.
inline Panel read_rossmann(const std::string& train_path, const std::string& store_path) {
  using data::ColumnType;
  auto stores = detail::read_columns("read_rossmann", store_path,
                                     {{"Store", ColumnType::int64}, {"StoreType", ColumnType::text}});
  auto table = detail::read_columns("read_rossmann", train_path,
                                    {{"Store", ColumnType::int64},
                                     {"Date", ColumnType::text},
                                     {"Sales", ColumnType::float64},
                                     {"Open", ColumnType::int64},
                                     {"Promo", ColumnType::int64},
                                     {"StateHoliday", ColumnType::text},
                                     {"SchoolHoliday", ColumnType::int64}});
  auto store = table.numbers<int64_t>("Store"), open = table.numbers<int64_t>("Open"),
       promo = table.numbers<int64_t>("Promo"), school = table.numbers<int64_t>("SchoolHoliday");
  auto sold = table.numbers<double>("Sales");
  auto dates = table.text("Date"), holidays = table.text("StateHoliday");
  require<FormatError>(table.rows() > 0, "read_rossmann: ", train_path, " holds no line");
  std::vector<Day> days;
  Day first = std::numeric_limits<Day>::max(), last = std::numeric_limits<Day>::min();
  for (size_t i = 0; i < dates.size(); ++i) {
    Day day = 0;
    require<FormatError>(parse_day(dates[i], day), "read_rossmann: ", train_path, ": row ", i + 1, ": '", dates[i],
                         "' is no date");
    days.push_back(day);
    first = std::min(first, day);
    last = std::max(last, day);
  }
  detail::Numbering series, types;
  for (int64_t i = 0; i < table.rows(); ++i) series.of(std::to_string(store.data()[i]));
  auto count = std::ssize(series.names()), length = last - first + 1;
  require<FormatError>(length <= 366 * 50, "read_rossmann: ", train_path, " reaches over more than 50 years");
  Panel panel{.first_day = first,
              .sales = zeros<float>({count, length}),
              .price = ones<float>({count, length}),
              .known_names = {"closed", "promotion", "holiday", "school_holiday"},
              .known = zeros<float>({count, length, 4})};
  std::map<std::string, std::string> type_of;
  auto numbers = stores.numbers<int64_t>("Store");
  auto kinds = stores.text("StoreType");
  for (size_t i = 0; i < kinds.size(); ++i) type_of[std::to_string(numbers.data()[i])] = kinds[i];
  for (int64_t i = 0; i < count; ++i) {
    const auto& name = series.names()[static_cast<size_t>(i)];
    auto kind = type_of.find(name);
    require<FormatError>(kind != type_of.end(), "read_rossmann: ", store_path, " has no store ", name);
    panel.series.push_back({join("store ", name), 0, i, types.of(kind->second)});
  }
  for (const auto& kind : types.names()) panel.regions.push_back(join("type ", kind));
  auto *sales = panel.sales.mutable_data(), *known = panel.known.mutable_data();
  for (int64_t at = 0; at < count * length; ++at) known[at * 4] = 1;  // until a line says otherwise
  for (int64_t i = 0; i < table.rows(); ++i) {
    auto at = series.of(std::to_string(store.data()[i])) * length + days[static_cast<size_t>(i)] - first;
    auto units = sold.data()[i];
    sales[at] = std::isfinite(units) ? static_cast<float>(units) : 0.0f;
    known[at * 4] = open.data()[i] != 0 ? 0.0f : 1.0f;
    known[at * 4 + 1] = promo.data()[i] != 0 ? 1.0f : 0.0f;
    known[at * 4 + 2] = holidays[static_cast<size_t>(i)] != "0" ? 1.0f : 0.0f;
    known[at * 4 + 3] = school.data()[i] != 0 ? 1.0f : 0.0f;
  }
  return panel;
}

/// M5's products: sales_train_*.csv (item_id, store_id, state_id, d_1, d_2, ...), calendar.csv (date, wm_yr_wk, d,
/// event_name_1, snap_<state>) and sell_prices.csv (store_id, item_id, wm_yr_wk, sell_price). A series an item in a
/// store, units a day; regions are the states. Known in advance: "closed" (Christmas Day), "event", "snap" (a day on
/// which food stamps are paid out in the state), "price" (relative to its mean until then). FormatError names what is
/// wrong.
inline Panel read_m5(const std::string& sales_path, const std::string& calendar_path, const std::string& prices_path) {
  using data::ColumnType;
  auto calendar = detail::read_columns("read_m5", calendar_path,
                                       {{"date", ColumnType::text},
                                        {"wm_yr_wk", ColumnType::int64},
                                        {"d", ColumnType::text},
                                        {"event_name_1", ColumnType::text}});
  auto table = detail::read_columns(
      "read_m5", sales_path,
      {{"item_id", ColumnType::text}, {"store_id", ColumnType::text}, {"state_id", ColumnType::text}});
  auto prices = detail::read_columns("read_m5", prices_path,
                                     {{"store_id", ColumnType::text},
                                      {"item_id", ColumnType::text},
                                      {"wm_yr_wk", ColumnType::int64},
                                      {"sell_price", ColumnType::float64}});
  std::vector<std::string> columns;
  for (const auto& column : table.columns()) {
    if (column.name.starts_with("d_")) columns.push_back(column.name);
  }
  auto length = std::ssize(columns);
  require<FormatError>(length > 0, "read_m5: ", sales_path, " has no column d_1");
  auto dates = calendar.text("date"), numbers = calendar.text("d"), events = calendar.text("event_name_1");
  auto weeks = calendar.numbers<int64_t>("wm_yr_wk");
  require<FormatError>(std::ssize(dates) >= length && numbers[0] == columns[0], "read_m5: ", calendar_path,
                       " begins with ", numbers.empty() ? "nothing" : numbers[0], " and has ", dates.size(),
                       " days, but ", sales_path, " begins with ", columns[0], " and has ", length);
  Day first = 0;
  require<FormatError>(parse_day(dates[0], first), "read_m5: ", calendar_path, ": '", dates[0], "' is no date");

  auto items = table.text("item_id"), stores = table.text("store_id"), states = table.text("state_id");
  auto count = table.rows();
  Panel panel{.first_day = first,
              .sales = table.matrix<float>(columns),
              .price = zeros<float>({count, length}),
              .known_names = {"closed", "event", "snap", "price"},
              .known = zeros<float>({count, length, 4})};
  detail::Numbering item_numbers, store_numbers, state_numbers;
  std::map<std::pair<std::string, std::string>, int64_t> series_of;
  for (size_t i = 0; i < items.size(); ++i) {
    panel.series.push_back({join(items[i], ", ", stores[i]), item_numbers.of(items[i]), store_numbers.of(stores[i]),
                            state_numbers.of(states[i])});
    series_of[{stores[i], items[i]}] = static_cast<int64_t>(i);
  }
  panel.regions = state_numbers.names();
  std::vector<Tensor<int64_t>> snaps;
  for (const auto& state : state_numbers.names()) snaps.push_back(calendar.numbers<int64_t>("snap_" + state));
  std::map<int64_t, std::pair<int64_t, int64_t>> days_of_week;  // first and last day
  for (int64_t t = 0; t < length; ++t) {
    auto [found, fresh] = days_of_week.emplace(weeks.data()[t], std::pair(t, t));
    if (!fresh) found->second.second = t;
  }
  auto* price = panel.price.mutable_data();
  auto price_stores = prices.text("store_id"), price_items = prices.text("item_id");
  auto price_weeks = prices.numbers<int64_t>("wm_yr_wk");
  auto values = prices.numbers<double>("sell_price");
  for (size_t k = 0; k < price_stores.size(); ++k) {
    auto series = series_of.find({price_stores[k], price_items[k]});
    auto week = days_of_week.find(price_weeks.data()[k]);
    if (series == series_of.end() || week == days_of_week.end()) continue;
    for (auto t = week->second.first; t <= week->second.second; ++t)
      price[series->second * length + t] = static_cast<float>(values.data()[k]);
  }
  auto* known = panel.known.mutable_data();
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0, seen = 0;
    const auto& snap = snaps[static_cast<size_t>(panel.series[static_cast<size_t>(i)].region)];
    for (int64_t t = 0; t < length; ++t) {
      auto at = i * length + t;
      auto date = to_date(first + t);
      auto christmas = date.month() == std::chrono::December && date.day() == std::chrono::day(25);
      auto now = static_cast<double>(price[at]);
      if (now > 0) sum += now, seen += 1;
      known[4 * at] = christmas ? 1.0f : 0.0f;
      known[4 * at + 1] = events[static_cast<size_t>(t)].empty() ? 0.0f : 1.0f;
      known[4 * at + 2] = snap.data()[t] != 0 ? 1.0f : 0.0f;
      known[4 * at + 3] = now > 0 ? static_cast<float>(now * seen / sum) : 1.0f;
    }
  }
  return panel;
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
