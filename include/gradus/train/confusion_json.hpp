// A confusion matrix in a run's summary.json, and back.
#pragma once

#include "gradus/io/json.hpp"
#include "gradus/metrics/confusion_matrix.hpp"

namespace gradus::training::inline GRADUS_BUILD {

/// {"classes": ["cat", "dog"], "counts": [[3, 1], [1, 1]]}, a row for each actual class.
GRADUS_COLD inline io::Json to_json(const metrics::ConfusionMatrix& matrix) {
  auto classes = io::Json::array(), counts = io::Json::array();
  for (int64_t actual = 0; actual < matrix.classes(); ++actual) {
    classes.push_back(matrix.class_names()[static_cast<size_t>(actual)]);
    auto row = io::Json::array();
    for (int64_t predicted = 0; predicted < matrix.classes(); ++predicted)
      row.push_back(matrix.count(actual, predicted));
    counts.push_back(std::move(row));
  }
  return io::Json::object({{"classes", std::move(classes)}, {"counts", std::move(counts)}});
}

/// The matrix that to_json() wrote. FormatError, with the rule, for anything else.
GRADUS_COLD inline metrics::ConfusionMatrix confusion_from_json(const io::Json& json) {
  std::vector<std::string> names;
  for (const auto& name : json.at("classes").as_array()) names.push_back(name.as_string());
  auto classes = std::ssize(names);
  require<FormatError>(classes > 0, "confusion matrix: 'classes' is empty");
  metrics::ConfusionMatrix matrix(std::move(names));
  const auto& rows = json.at("counts").as_array();
  require<FormatError>(std::ssize(rows) == classes, "confusion matrix: 'counts' has ", rows.size(), " rows for ",
                       classes, " classes");
  for (int64_t actual = 0; actual < classes; ++actual) {
    const auto& row = rows[static_cast<size_t>(actual)].as_array();
    require<FormatError>(std::ssize(row) == classes, "confusion matrix: row ", actual, " of 'counts' has ", row.size(),
                         " numbers for ", classes, " classes");
    for (int64_t predicted = 0; predicted < classes; ++predicted) {
      auto count = row[static_cast<size_t>(predicted)].as_int();
      require<FormatError>(count >= 0, "confusion matrix: a count is ", count, ", but must not be negative");
      matrix.add(actual, predicted, count);
    }
  }
  return matrix;
}

}  // namespace gradus::training::inline GRADUS_BUILD
