// The report of a run, from the files that it left in its folder.
#pragma once

#include <algorithm>
#include <filesystem>

#include "gradus/io/json_reader.hpp"
#include "gradus/train/confusion_json.hpp"
#include "gradus/train/metrics_record.hpp"
#include "gradus/train/report.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

/// "test accuracy" for test_accuracy.
inline std::string words_of(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

/// "92.20 %" for shares, four digits for other numbers.
inline std::string figure_text(std::string_view name, double value) {
  auto share = name.ends_with("accuracy") && value >= 0 && value <= 1;
  if (share) return fixed(100 * value, 2) + " %";
  return std::abs(value) < 1e4 ? general(value, 4) : fixed(value, 0);
}

/// A chart for what stands behind the first '_' of the metrics' names: train_loss and test_loss are two curves of one.
inline std::vector<Chart> charts_of(const std::vector<MetricsRecord>& records) {
  std::vector<Chart> charts;
  std::vector<std::string> seen;
  for (const auto& record : records) {
    for (const auto& metric : record.metrics) {
      if (std::find(seen.begin(), seen.end(), metric.name) != seen.end()) continue;
      seen.push_back(metric.name);
      auto border = metric.name.find('_');
      auto quantity = words_of(border == metric.name.npos ? metric.name : metric.name.substr(border + 1));
      auto label = border == metric.name.npos ? metric.name : metric.name.substr(0, border);
      auto chart = std::find_if(charts.begin(), charts.end(), [&](const auto& one) { return one.title == quantity; });
      if (chart == charts.end())
        chart = charts.insert(chart, Chart{.title = quantity, .x_label = "epoch", .y_label = quantity});
      chart->series.push_back(metric_series(records, metric.name, MetricsAxis::epoch, label));
    }
  }
  return charts;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// What a run left in its folder, as a report: of summary.json the fractions as figures, other values as settings,
/// texts of several lines as listings, and {"classes": [...], "counts": [[...]]} under "confusion" as a matrix; the
/// curves of metrics.jsonl, where there is one; all PNG files. IoError when there is no summary.json or a file cannot
/// be read, FormatError when one is not what it should be.
inline Report report_of_run(const std::string& folder) {
  auto path = folder + "/summary.json";
  auto place = std::filesystem::absolute(folder).lexically_normal();
  auto title = place.has_filename() ? place.filename() : place.parent_path().filename();
  Report report{.title = title.string(), .environment = {}};
  try {
    auto summary = io::parse_json(io::detail::read_whole_file(path));
    for (size_t i = 0; i < summary.keys().size(); ++i) {
      const auto& name = summary.keys()[i];
      const auto& value = summary.values()[i];
      if (name == "confusion") {
        report.confusion = confusion_from_json(value);
      } else if (value.kind() == io::Json::Kind::number) {
        report.figures.push_back({detail::words_of(name), detail::figure_text(name, value.as_number())});
      } else if (value.kind() != io::Json::Kind::string) {
        report.settings.push_back({detail::words_of(name), to_string(value)});
      } else if (value.as_string().find('\n') != std::string::npos) {
        report.listings.push_back({detail::words_of(name), value.as_string()});
      } else {
        report.settings.push_back({detail::words_of(name), value.as_string()});
      }
    }
  } catch (FormatError& error) {
    error.add_context(path);
    throw;
  }
  auto metrics = folder + "/metrics.jsonl";
  std::error_code problem;
  if (std::filesystem::exists(metrics, problem)) report.charts = detail::charts_of(read_metrics(metrics));
  std::vector<std::string> pictures;
  std::filesystem::directory_iterator entries(folder, problem);
  if (problem) io::detail::fail_io("read", folder, problem.value());
  for (const auto& entry : entries) {
    if (entry.path().extension() == ".png") pictures.push_back(entry.path().string());
  }
  std::sort(pictures.begin(), pictures.end());
  for (const auto& picture : pictures)
    report.pictures.push_back(
        picture_from_file(detail::words_of(std::filesystem::path(picture).stem().string()), picture));
  return report;
}

}  // namespace gradus::training::inline GRADUS_BUILD
