// One line of a metrics log, as text and back.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gradus/io/file.hpp"
#include "gradus/io/json_reader.hpp"

namespace gradus::training::inline GRADUS_BUILD {

struct Metric {
  std::string name;
  double value = 0;
};

/// What was measured after a step.
struct MetricsRecord {
  int64_t step = 0;    ///< optimizer steps done
  int64_t epoch = 0;   ///< the epoch that they belong to
  double seconds = 0;  ///< since the run began, without pauses between its parts
  std::vector<Metric> metrics;

  /// The metric of that name, or null.
  const double* find(std::string_view name) const {
    for (const auto& metric : metrics) {
      if (metric.name == name) return &metric.value;
    }
    return nullptr;
  }
};

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

inline bool is_reserved_name(std::string_view name) {
  return name.empty() || name == "step" || name == "epoch" || name == "seconds";
}

/// {"step":10,"epoch":1,"seconds":2.5,"loss":0.25}, without the end of the line. What JSON has no number for is text
/// that Python's float() and JavaScript's Number() read: "NaN", "Infinity", "-Infinity".
GRADUS_COLD inline std::string to_json_line(const MetricsRecord& record) {
  auto line = io::Json::object({{"step", record.step}, {"epoch", record.epoch}, {"seconds", record.seconds}});
  for (const auto& [name, value] : record.metrics) {
    auto number = std::isfinite(value) ? io::Json(value)
                                       : io::Json(std::isnan(value) ? "NaN"
                                                  : value > 0       ? "Infinity"
                                                                    : "-Infinity");
    line.append(name, std::move(number));
  }
  return to_string(line);
}

GRADUS_COLD inline double read_metric(const std::string& name, const io::Json& value) {
  if (value.kind() != io::Json::Kind::string) return value.as_number();
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  const auto& text = value.as_string();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return infinity;
  require<FormatError>(text == "-Infinity", "'", name, "' is \"", text,
                       "\", but must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
  return -infinity;
}

GRADUS_COLD inline MetricsRecord read_json_line(std::string_view line) {
  auto json = io::parse_json(line);
  MetricsRecord record{json.at("step").as_int(), json.at("epoch").as_int(), json.at("seconds").as_number(), {}};
  for (size_t i = 0; i < json.keys().size(); ++i) {
    const auto& name = json.keys()[i];
    if (!is_reserved_name(name)) record.metrics.push_back({name, read_metric(name, json.values()[i])});
  }
  return record;
}

/// Calls f(line, record) for every line of a log's text that has an end.
template <class F>
void for_each_record(const std::string& path, std::string_view text, F&& f) {
  for (int64_t number = 1;; ++number) {
    auto end = text.find('\n');
    if (end == text.npos) return;
    auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    MetricsRecord record;
    try {
      record = read_json_line(line);
    } catch (Error& error) {
      error.add_context(join(path, ": line ", number));
      throw;
    }
    f(line, std::move(record));
  }
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// The records of a metrics.jsonl file. A last line without an end, which a crash left, is passed over. IoError when it
/// cannot be read, FormatError with the line's number when a line is not a record.
inline std::vector<MetricsRecord> read_metrics(const std::string& path) {
  std::vector<MetricsRecord> records;
  detail::for_each_record(path, io::detail::read_whole_file(path),
                          [&](std::string_view, MetricsRecord record) { records.push_back(std::move(record)); });
  return records;
}

}  // namespace gradus::training::inline GRADUS_BUILD
