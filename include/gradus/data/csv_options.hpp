// How a CSV file is read, and where what is wrong with it is told.
#pragma once

#include <utility>

#include "gradus/data/table_text.hpp"

namespace gradus::data::inline GRADUS_BUILD {

struct CsvOptions {
  char separator = ',';                 ///< a semicolon or a tab, too, are common
  char quote = '"';                     ///< '\0': none
  bool header = true;                   ///< the first line names the columns; without it they are "0", "1", ...
  std::vector<std::string> names = {};  ///< of the columns, in place of the header's
  std::vector<std::pair<std::string, ColumnType>> types = {};  ///< demanded; those of the other columns are found
  std::vector<std::string> missing = {"NA", "N/A", "NaN", "nan", "null", "?"};  ///< besides the empty field
  bool trim = false;                     ///< spaces around fields do not count; around numbers they never do
  bool strict = true;                    ///< throw at what is wrong; otherwise it is missing, and Table::issues() tells
  int64_t max_issues = 100;              ///< kept in Table::issues()
  int64_t max_bytes = int64_t{1} << 30;  ///< of the text, when it is unpacked
  int64_t max_field_bytes = 1 << 20;
  int64_t max_columns = 1 << 16;
};

}  // namespace gradus::data::inline GRADUS_BUILD

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Knows what the text and its columns are called. Throws what cannot be read on from, and in strict mode everything.
class CsvProblems {
 public:
  CsvProblems(std::string source, const CsvOptions& options) : source_(std::move(source)), options_(options) {}

  std::vector<std::string> names;  ///< of the columns, as soon as they are known

  [[noreturn]] GRADUS_COLD void fail(int64_t line, size_t column, const std::string& reason) const {
    auto name = column < names.size() ? shown(names[column]) : join(column + 1);
    gradus::detail::fail<FormatError>({source_, ": line ", line, ", column ", name, ": ", reason});
  }
  [[noreturn]] GRADUS_COLD void fail(const std::string& reason) const {
    gradus::detail::fail<FormatError>({source_, ": ", reason});
  }

  GRADUS_COLD void report(int64_t line, size_t column, std::string_view text, const std::string& reason) {
    add({line, names[column], shown(text), reason});
  }
  /// Of a whole line.
  GRADUS_COLD void report(int64_t line, const std::string& reason) { add({line, "", "", reason}); }

  const std::string& source() const { return source_; }
  TableIssues take() { return std::move(issues_); }

 private:
  void add(TableIssue issue) {
    require<FormatError>(!options_.strict, source_, ": ", issue, "; CsvOptions::strict = false reads on");
    if (issues_.count++ < options_.max_issues) issues_.first.push_back(std::move(issue));
  }

  std::string source_;
  const CsvOptions& options_;
  TableIssues issues_;
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD
