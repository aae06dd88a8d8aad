// A table in memory: columns of whole numbers, floating numbers or text, some of their values missing.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gradus/data/table_text.hpp"
#include "gradus/tensor.hpp"

namespace gradus::data::inline GRADUS_BUILD {

/// A column as numbers: 0, 1, ... for its different values in ascending order, -1 where the value is missing.
struct Categories {
  Tensor<int64_t> codes;           ///< (rows,)
  std::vector<std::string> names;  ///< of code 0, 1, ...
};

/// What read_csv() and parse_csv() return. Rows are counted from 0. Every call makes tensors of their own.
class Table {
 public:
  /// Internal: of columns that all have `rows` values.
  Table(std::string source, int64_t rows, std::vector<detail::Column> columns, detail::TableIssues issues)
      : source_(std::move(source)), rows_(rows), columns_(std::move(columns)), issues_(std::move(issues)) {}

  int64_t rows() const { return rows_; }
  std::vector<ColumnInfo> columns() const {
    std::vector<ColumnInfo> result;
    for (const auto& column : columns_) result.push_back({column.name, column.type, column.missing});
    return result;
  }
  /// The names of all columns but these, in their order.
  std::vector<std::string> names_without(const std::vector<std::string>& left_out = {}) const {
    for (const auto& name : left_out) find(name);
    std::vector<std::string> names;
    for (const auto& column : columns_) {
      auto kept = std::find(left_out.begin(), left_out.end(), column.name) == left_out.end();
      if (kept) names.push_back(column.name);
    }
    return names;
  }

  /// A column of numbers: (rows,). NaN where one is missing. ValueError when there is no such column, or T holds whole
  /// numbers and one of them is missing or out of T's range; TypeError for a column of text, or of float64 where T
  /// holds whole numbers.
  template <Numeric T>
  Tensor<T> numbers(std::string_view name) const {
    auto result = Tensor<T>::empty({rows_});
    copy_numbers(find(name), result.mutable_data(), 1);
    return result;
  }
  /// Columns of numbers side by side: (rows, names.size()). Errors as numbers().
  template <Numeric T>
  Tensor<T> matrix(const std::vector<std::string>& names) const {
    auto width = static_cast<int64_t>(names.size());
    auto result = Tensor<T>::empty({rows_, width});
    for (int64_t i = 0; i < width; ++i) {
      copy_numbers(find(names[static_cast<size_t>(i)]), result.mutable_data() + i, width);
    }
    return result;
  }

  /// A column of text; what counts as missing stands as it was written. TypeError for a column of numbers.
  std::vector<std::string> text(std::string_view name) const {
    const auto& column = find(name);
    require<TypeError>(column.type == ColumnType::text, "Table: column ", detail::shown(column.name), " is ",
                       column.type, ", not text; demand text with CsvOptions::types");
    std::vector<std::string> values;
    values.reserve(static_cast<size_t>(rows_));
    for (int64_t row = 0; row < rows_; ++row) values.emplace_back(column.text_of(row));
    return values;
  }
  /// The different values of a column of text or whole numbers, and which of them each row has. TypeError for float64.
  Categories categories(std::string_view name) const {
    const auto& column = find(name);
    require<TypeError>(column.type != ColumnType::float64, "Table: column ", detail::shown(column.name),
                       " is float64, but categories are text or whole numbers");
    if (column.type == ColumnType::text) return categories_of(column, [&](int64_t row) { return column.text_of(row); });
    return categories_of(column, [&](int64_t row) { return column.integers[static_cast<size_t>(row)]; });
  }
  /// Where a column has no value: (rows,).
  Tensor<bool> missing(std::string_view name) const {
    const auto& column = find(name);
    auto result = Tensor<bool>::empty({rows_});
    std::copy(column.absent.begin(), column.absent.end(), result.mutable_data());
    return result;
  }

  /// What was wrong with the file, in the order of its lines: the first of them, up to CsvOptions::max_issues.
  const std::vector<TableIssue>& issues() const { return issues_.first; }
  /// How many there were in all.
  int64_t issue_count() const { return issues_.count; }
  /// Name, type and missing values of each column, and what was wrong, for people to read.
  std::string report() const { return detail::table_report(source_, rows_, columns_, issues_); }

 private:
  const detail::Column& find(std::string_view name) const {
    for (const auto& column : columns_) {
      if (column.name == name) return column;
    }
    gradus::detail::fail<ValueError>({"Table: there is no column ", detail::shown(name), "; there are ",
                                      detail::list_of(columns_, [](const auto& column) { return column.name; })});
  }

  template <class T>
  void copy_numbers(const detail::Column& column, T* to, int64_t stride) const {
    auto name = detail::shown(column.name);
    require<TypeError>(column.type != ColumnType::text, "Table: column ", name, " is text, not numbers", column.note);
    require<TypeError>(Floating<T> || column.type == ColumnType::int64, "Table: column ", name, " is float64, which ",
                       dtype_of<T>, " cannot hold; read it as float or double");
    for (int64_t row = 0; row < rows_; ++row, to += stride) {
      auto at = static_cast<size_t>(row);
      if constexpr (Floating<T>) {
        auto floating = column.type == ColumnType::float64;
        *to = column.absent[at] ? static_cast<T>(std::numeric_limits<double>::quiet_NaN())
              : floating        ? static_cast<T>(column.numbers[at])
                                : static_cast<T>(column.integers[at]);
      } else {
        require<ValueError>(!column.absent[at], "Table: column ", name, " has no value in row ", row, ", which ",
                            dtype_of<T>, " cannot hold; read it as float or double");
        auto value = column.integers[at];
        require<ValueError>(std::in_range<T>(value), "Table: column ", name, " holds ", value, " in row ", row,
                            ", which is out of the range of ", dtype_of<T>);
        *to = static_cast<T>(value);
      }
    }
  }

  template <class ValueOf>
  Categories categories_of(const detail::Column& column, ValueOf&& value_of) const {
    std::vector<decltype(value_of(0))> values;
    for (int64_t row = 0; row < rows_; ++row) {
      if (!column.absent[static_cast<size_t>(row)]) values.push_back(value_of(row));
    }
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    Categories result{Tensor<int64_t>::empty({rows_}), {}};
    for (const auto& value : values) result.names.push_back(join(value));
    auto* codes = result.codes.mutable_data();
    for (int64_t row = 0; row < rows_; ++row) {
      auto at = column.absent[static_cast<size_t>(row)]
                    ? -1
                    : std::lower_bound(values.begin(), values.end(), value_of(row)) - values.begin();
      codes[row] = static_cast<int64_t>(at);
    }
    return result;
  }

  std::string source_;
  int64_t rows_;
  std::vector<detail::Column> columns_;
  detail::TableIssues issues_;
};

}  // namespace gradus::data::inline GRADUS_BUILD
