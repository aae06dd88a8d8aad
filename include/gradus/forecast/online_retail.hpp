// The invoices of a real shop: "Online Retail II" (Chen, 2019, UCI), and any file of its layout.
#pragma once

#include <map>
#include <unordered_set>

#include "gradus/data/csv.hpp"
#include "gradus/forecast/panel.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

/// What was wrong with the lines of a file, and what was done about it.
struct CleaningReport {
  int64_t lines = 0;
  int64_t unreadable = 0;     ///< no date, number or code where one must be: left out
  int64_t duplicates = 0;     ///< the same line once more: left out
  int64_t returns = 0;        ///< negative quantities and cancelled invoices: left out, they say nothing about demand
  int64_t without_price = 0;  ///< free of charge, or an entry of the books: left out
  int64_t no_products = 0;    ///< postage, fees, samples, gift vouchers: left out
  int64_t outliers = 0;       ///< days of a series cut down, see cut_outliers
  int64_t closed_days = 0;    ///< on which nothing at all was sold
  std::vector<std::string> examples;  ///< of unreadable lines

  std::string text() const {
    auto line = [](const char* name, int64_t count) { return join(name, count, '\n'); };
    auto result =
        line("lines read                      ", lines) + line("unreadable lines                ", unreadable) +
        line("duplicates                      ", duplicates) + line("returns and cancellations       ", returns) +
        line("lines without a price           ", without_price) +
        line("lines that are no product       ", no_products) + line("outliers cut down               ", outliers) +
        line("days without any sale           ", closed_days);
    for (const auto& example : examples) result += "  " + example + '\n';
    return result;
  }
};

struct OnlineRetailOptions {
  Country country = Country::united_kingdom;  ///< whose holidays close the shop
};

}  // namespace gradus::forecast::inline GRADUS_BUILD

namespace gradus::forecast::detail::inline GRADUS_BUILD {

/// Weekdays of which less than a twentieth saw a sale, public holidays, and the days from Christmas to New Year: known
/// long before. Weekdays are judged by the first `days` only.
inline std::vector<float> planned_closing(Day first_day, const std::vector<double>& totals, int64_t days,
                                          Country country) {
  double sold[7] = {}, seen[7] = {};
  for (int64_t t = 0; t < days; ++t) {
    auto weekday = weekday_of(first_day + t);
    seen[weekday] += 1;
    sold[weekday] += totals[static_cast<size_t>(t)] > 0 ? 1 : 0;
  }
  std::vector<float> closed;
  for (int64_t t = 0; t < std::ssize(totals); ++t) {
    auto day = first_day + t;
    auto year = year_of(day);
    auto weekday = weekday_of(day);
    auto rest = day >= to_day(year, 12, 24) || day <= to_day(year, 1, 1);
    closed.push_back(rest || !holiday(day, country).empty() || sold[weekday] < 0.05 * seen[weekday] ? 1.0f : 0.0f);
  }
  return closed;
}

}  // namespace gradus::forecast::detail::inline GRADUS_BUILD

namespace gradus::forecast::inline GRADUS_BUILD {

/// Reads invoice lines: a CSV file, packed with gzip or not, with the columns Invoice, StockCode, Quantity,
/// InvoiceDate, Price (or UnitPrice), and more. One series a product (five digits and perhaps a letter), daily from the
/// first day to the last. Known in advance is "closed". Nothing that is written into a day depends on later days.
/// FormatError when columns are missing, or nothing is left; single lines that cannot be read are counted.
inline std::pair<Panel, CleaningReport> read_online_retail(const std::string& path,
                                                           const OnlineRetailOptions& options = {}) {
  CleaningReport report;
  data::CsvOptions csv{.strict = false, .max_bytes = int64_t{4} << 30};
  auto content = data::detail::read_csv_text(path, csv);
  auto header = ',' + content.substr(0, content.find_first_of("\r\n")) + ',';
  auto has = [&](const char* name) { return header.find(join(',', name, ',')) != header.npos; };
  auto price_name = has("UnitPrice") ? "UnitPrice" : "Price";
  for (const char* name : {"Invoice", "StockCode", "Quantity", "InvoiceDate", price_name}) {
    require<FormatError>(has(name), "read_online_retail: ", path, " has no column ", name);
    auto number = name == price_name || std::string_view(name) == "Quantity";
    csv.types.emplace_back(name, number ? data::ColumnType::float64 : data::ColumnType::text);
  }
  auto table = data::detail::CsvReader(content, csv, "read_online_retail: " + path).read();
  auto invoices = table.text("Invoice"), codes = table.text("StockCode"), dates = table.text("InvoiceDate");
  auto quantities = table.numbers<double>("Quantity"), prices = table.numbers<double>(price_name);
  report.lines = table.rows();
  for (const auto& issue : table.issues()) {
    if (report.examples.size() < 5) report.examples.push_back(join(issue));
  }

  struct Sale {
    Day day;
    int64_t product;
    double units, value;
  };
  std::vector<Sale> sales;
  std::map<std::string, int64_t> products;
  std::unordered_set<std::string> seen;
  Day first = std::numeric_limits<Day>::max(), last = std::numeric_limits<Day>::min();
  for (size_t i = 0; i < codes.size(); ++i) {
    auto units = quantities.data()[i], price = prices.data()[i];
    Day day = 0;
    if (!std::isfinite(units) || !std::isfinite(price) || codes[i].empty() || !parse_day(dates[i], day)) {
      ++report.unreadable;
      continue;
    }
    if (!seen.insert(join(invoices[i], '|', codes[i], '|', units, '|', dates[i], '|', price)).second) {
      ++report.duplicates;
      continue;
    }
    first = std::min(first, day);
    last = std::max(last, day);
    auto code = codes[i];
    for (auto& c : code) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    auto digits = static_cast<size_t>(
        std::find_if(code.begin(), code.end(), [](char c) { return c < '0' || c > '9'; }) - code.begin());
    if (units <= 0 || invoices[i].starts_with('C')) {
      ++report.returns;
    } else if (price <= 0) {
      ++report.without_price;
    } else if (digits != 5) {
      ++report.no_products;
    } else {
      auto product = products.emplace(code, std::ssize(products)).first->second;
      sales.push_back({day, product, units, units * price});
    }
  }
  require<FormatError>(!sales.empty(), "read_online_retail: ", path, " holds no sale");
  require<FormatError>(last - first < 366 * 50, "read_online_retail: ", path, " reaches from ", to_string(first),
                       " to ", to_string(last), ": more than 50 years");

  auto days = last - first + 1, count = std::ssize(products);
  Panel panel{.first_day = first,
              .regions = {"all"},
              .sales = zeros<float>({count, days}),
              .price = zeros<float>({count, days}),
              .known_names = {"closed"},
              .known = zeros<float>({count, days, 1})};
  panel.series.resize(static_cast<size_t>(count));
  for (const auto& [code, number] : products) panel.series[static_cast<size_t>(number)] = {code, number, 0, 0};
  auto *units = panel.sales.mutable_data(), *values = panel.price.mutable_data(), *known = panel.known.mutable_data();
  std::vector<double> totals(static_cast<size_t>(days));
  for (const auto& sale : sales) {
    auto at = sale.product * days + sale.day - first;
    units[at] += static_cast<float>(sale.units);
    values[at] += static_cast<float>(sale.value);
    totals[static_cast<size_t>(sale.day - first)] += sale.units;
  }
  auto closed = detail::planned_closing(first, totals, days / 2, options.country);
  report.closed_days = std::count(totals.begin(), totals.end(), 0.0);
  for (int64_t i = 0; i < count; ++i) {
    float price = 0;  // the last one seen
    for (int64_t t = 0; t < days; ++t) {
      auto at = i * days + t;
      if (units[at] > 0) price = values[at] / units[at];
      values[at] = price;
      known[at] = closed[static_cast<size_t>(t)];
    }
  }
  return {panel, report};
}

}  // namespace gradus::forecast::inline GRADUS_BUILD
