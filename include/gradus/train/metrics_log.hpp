// The numbers of a run in files: for people, spreadsheets, and the report.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>

#include "gradus/io/atomic_file.hpp"
#include "gradus/train/metrics_record.hpp"
#include "gradus/train/progress.hpp"

namespace gradus::training::inline GRADUS_BUILD {

struct MetricsLogOptions {
  /// How many steps the run has done when it goes on: records of later steps are dropped, since it will write them
  /// again. 0: the run starts anew, and all are dropped. Absent: all are kept.
  std::optional<int64_t> resume_step = std::nullopt;
  std::function<double()> clock = nullptr;  ///< seconds; absent: the steady clock
};

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

/// A file that grows by whole lines: one that does not fit is taken back.
class LineFile {
 public:
  explicit LineFile(std::string path)
      : path_(std::move(path)), file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
    if (file_.descriptor() < 0) io::detail::fail_io("write", path_);
    size_ = file_.size(path_);
  }

  void append(std::string line) {
    line += '\n';
    try {
      file_.write(path_, line.data(), line.size());
    } catch (const IoError&) {
      if (::ftruncate(file_.descriptor(), size_) != 0) io::detail::fail_io("write", path_);
      throw;
    }
    size_ += static_cast<int64_t>(line.size());
  }

 private:
  std::string path_;
  io::detail::File file_;
  int64_t size_ = 0;
};

GRADUS_COLD inline std::string csv_name(const std::string& name) {
  if (name.find_first_of(",\"\r\n") == name.npos) return name;
  std::string quoted = "\"";
  for (auto c : name) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

GRADUS_COLD inline std::string csv_header(const std::vector<std::string>& columns) {
  std::string line = "step,epoch,seconds";
  for (const auto& name : columns) line += ',' + csv_name(name);
  return line;
}

/// An empty cell where the record lacks a column.
GRADUS_COLD inline std::string csv_line(const MetricsRecord& record, const std::vector<std::string>& columns) {
  auto line = join(record.step, ',', record.epoch, ',', record.seconds);
  for (const auto& name : columns) {
    line += ',';
    const auto* value = record.find(name);
    if (value != nullptr) line += std::isnan(*value) ? "nan" : join(*value);  // a NaN's sign says nothing
  }
  return line;
}

/// Adds the names that the record has and `columns` lacks; whether there were any.
GRADUS_COLD inline bool add_columns(std::vector<std::string>& columns, const MetricsRecord& record) {
  auto before = columns.size();
  for (const auto& metric : record.metrics) {
    if (std::find(columns.begin(), columns.end(), metric.name) == columns.end()) columns.push_back(metric.name);
  }
  return columns.size() > before;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// Writes metrics to `folder`/metrics.jsonl, one JSON object a line and record, and to metrics.csv, the same as a
/// table:
///
///     MetricsLog log("runs/x");
///     log.write(step, epoch, {{"loss", 0.31}, {"accuracy", 0.89}});
///
/// Each record is handed to the operating system as it is written, so that a crash of the program loses none. Half a
/// line at the end, which a crash of the machine or a full disk may leave, is removed when the log is opened again. The
/// table is made from the JSON lines when the log is opened, and when a metric appears for the first time: its column
/// comes last, and earlier cells are empty. NaN and infinities are "NaN", "Infinity" and "-Infinity" in JSON, nan, inf
/// and -inf in the table. For one thread at a time, and one log a folder.
class MetricsLog {
 public:
  /// Makes the folder if need be. IoError when it or the files cannot be written, FormatError when a line of
  /// metrics.jsonl is not a record; neither changes a file.
  GRADUS_COLD explicit MetricsLog(const std::string& folder, MetricsLogOptions options = {})
      : json_path_(folder + "/metrics.jsonl"), csv_path_(folder + "/metrics.csv"), options_(std::move(options)) {
    require<ValueError>(options_.resume_step.value_or(0) >= 0, "MetricsLog: resume_step is ",
                        options_.resume_step.value_or(0), ", but must not be negative");
    std::error_code problem;
    std::filesystem::create_directories(folder, problem);
    if (problem) io::detail::fail_io("create", folder, problem.value());
    if (std::filesystem::exists(json_path_, problem)) mend();
    write_table();
    json_.emplace(json_path_);
    start_ = now();
  }
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// Adds a record, with the seconds since the log was opened, counted on from the last one kept. ValueError for a name
  /// that is empty, taken (step, epoch, seconds) or there twice; IoError when the disk is full.
  GRADUS_COLD void write(int64_t step, int64_t epoch, std::span<const Metric> metrics) {
    for (size_t i = 0; i < metrics.size(); ++i) {
      const auto& name = metrics[i].name;
      require<ValueError>(!detail::is_reserved_name(name), "MetricsLog: '", name,
                          "' cannot name a metric: it must not be empty, step, epoch or seconds");
      for (size_t k = 0; k < i; ++k) {
        require<ValueError>(metrics[k].name != name, "MetricsLog: two metrics of one record are named '", name, "'");
      }
    }
    auto seconds = std::round(1000 * (seconds_before_ + now() - start_)) / 1000;
    MetricsRecord record{step, epoch, seconds, {metrics.begin(), metrics.end()}};
    json_->append(detail::to_json_line(record));
    if (detail::add_columns(columns_, record)) csv_.reset();
    try {
      if (csv_) csv_->append(detail::csv_line(record, columns_));
      else write_table();
    } catch (...) {
      csv_.reset();  // the next record makes it anew
      throw;
    }
  }
  void write(int64_t step, int64_t epoch, std::initializer_list<Metric> metrics) {
    write(step, epoch, std::span(metrics.begin(), metrics.size()));
  }

  const std::string& json_path() const { return json_path_; }
  const std::string& csv_path() const { return csv_path_; }

 private:
  double now() const { return options_.clock ? options_.clock() : detail::steady_seconds(); }

  /// Leaves the whole lines of steps that the run has done, and learns their columns and seconds.
  GRADUS_COLD void mend() {
    auto text = io::detail::read_whole_file(json_path_);
    std::string kept;
    detail::for_each_record(json_path_, text, [&](std::string_view line, const MetricsRecord& record) {
      auto step = options_.resume_step.value_or(std::numeric_limits<int64_t>::max());
      if (step == 0 || record.step > step) return;
      kept.append(line) += '\n';
      seconds_before_ = std::max(seconds_before_, record.seconds);
      detail::add_columns(columns_, record);
    });
    if (kept != text) io::write_file(json_path_, kept);
  }

  GRADUS_COLD void write_table() {
    auto text = detail::csv_header(columns_) + '\n';
    std::error_code problem;
    if (std::filesystem::exists(json_path_, problem)) {
      detail::for_each_record(
          json_path_, io::detail::read_whole_file(json_path_),
          [&](std::string_view, const MetricsRecord& record) { text += detail::csv_line(record, columns_) + '\n'; });
    }
    io::write_file(csv_path_, text);
    csv_.emplace(csv_path_);
  }

  std::string json_path_, csv_path_;
  MetricsLogOptions options_;
  std::vector<std::string> columns_;
  std::optional<detail::LineFile> json_, csv_;
  double seconds_before_ = 0, start_ = 0;
};

}  // namespace gradus::training::inline GRADUS_BUILD
