// Turns the text of a CSV file into a table.
#pragma once

#include <algorithm>
#include <optional>

#include "gradus/data/csv_number.hpp"
#include "gradus/data/table.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Goes over the text twice: the first time finds the columns' types and counts rows, so that the second one can write
/// into memory of the right size. What it takes is the text and up to nine bytes a field.
class CsvReader {
 public:
  CsvReader(std::string_view text, const CsvOptions& options, std::string source)
      : text_(text), options_(options), problems_(std::move(source), options) {}

  Table read() {
    check_options();
    check_text();
    start_.emplace(text_, options_, problems_);
    read_names();
    find_types();
    for (auto& column : columns_) reserve(column);
    read_values();
    return {problems_.source(), rows_, std::move(columns_), problems_.take()};
  }

 private:
  void check_options() const {
    auto is_line_end = [](char c) { return c == '\n' || c == '\r'; };
    require<ValueError>(options_.separator != options_.quote && options_.separator != '\0' &&
                            !is_line_end(options_.separator) && !is_line_end(options_.quote),
                        problems_.source(), ": separator and quote are ", shown({&options_.separator, 1}), " and ",
                        shown({&options_.quote, 1}), ", but must be two characters, and neither may end a line");
  }

  void check_text() {
    auto starts = [&](std::string_view bytes) { return text_.substr(0, bytes.size()) == bytes; };
    if (static_cast<int64_t>(text_.size()) > options_.max_bytes) {
      problems_.fail(
          join(text_.size(), " bytes, but at most ", options_.max_bytes, " are allowed (CsvOptions::max_bytes)"));
    }
    if (starts("\xff\xfe") || starts("\xfe\xff")) problems_.fail("the text is UTF-16, but must be UTF-8");
    if (starts("\xef\xbb\xbf")) text_.remove_prefix(3);
    if (auto at = text_.find('\0'); at != text_.npos) {
      auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
      problems_.fail(join("line ", line, " has a byte 0, which text has not: is it a CSV file?"));
    }
  }

  void read_names() {
    std::vector<std::string> names;
    auto scanner = *start_;
    for (CsvField field; scanner.next(field);) {
      names.emplace_back(options_.header ? std::string(field.text) : std::to_string(names.size()));
      if (static_cast<int64_t>(names.size()) > options_.max_columns) {
        problems_.fail(join("more than ", options_.max_columns, " columns (CsvOptions::max_columns)"));
      }
      if (field.ends_row) break;
    }
    if (names.empty()) problems_.fail("there are no columns: the text is empty");
    if (options_.header) start_.emplace(scanner);
    if (!options_.names.empty()) {
      require<ValueError>(options_.names.size() == names.size(), problems_.source(), ": CsvOptions::names are ",
                          options_.names.size(), ", but there are ", names.size(), " columns");
      names = options_.names;
    }
    auto sorted = names;
    std::sort(sorted.begin(), sorted.end());
    if (auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
      problems_.fail(join("two columns are called ", shown(*twice), "; give them names with CsvOptions::names"));
    }
    for (const auto& name : names) columns_.emplace_back().name = name;
    problems_.names = std::move(names);
    demanded_.resize(columns_.size());
    for (const auto& [name, type] : options_.types) {
      auto at = std::find(problems_.names.begin(), problems_.names.end(), name) - problems_.names.begin();
      require<ValueError>(at < std::ssize(columns_), problems_.source(), ": CsvOptions::types has ", shown(name),
                          ", but the columns are ",
                          list_of(
                              problems_.names, [](const auto& each) { return each; }));
      demanded_[static_cast<size_t>(at)] = type;
    }
  }

  /// Calls see(column, field) for the fields of the columns, and end_row(line, fields) after each row.
  template <class See, class EndRow>
  void walk(See&& see, EndRow&& end_row) const {
    auto scanner = *start_;
    size_t count = 0;
    int64_t line = 0;
    for (CsvField field; scanner.next(field);) {
      if (count == 0) line = field.line;
      if (count < columns_.size()) see(count, field);
      ++count;
      if (!field.ends_row) continue;
      end_row(line, count);
      count = 0;
    }
  }

  void find_types() {
    struct Seen {
      CsvKind widest = CsvKind::missing;
      bool numbers = false;
      std::string first_text;
      int64_t text_line = 0;
    };
    std::vector<Seen> seen(columns_.size());
    walk(
        [&](size_t at, const CsvField& field) {
          if (demanded_[at]) return;
          auto& column = seen[at];
          if (column.widest == CsvKind::text && column.numbers) return;
          auto kind = classify_csv(field.text, options_).kind;
          column.numbers |= kind == CsvKind::integer || kind == CsvKind::floating;
          if (kind == CsvKind::text && column.text_line == 0) {
            column.first_text = shown(field.text);
            column.text_line = field.line;
          }
          column.widest = std::max(column.widest, kind);
        },
        [&](int64_t, size_t) { ++rows_; });
    for (size_t at = 0; at < columns_.size(); ++at) {
      auto& column = columns_[at];
      auto widest = seen[at].widest;
      auto found = widest == CsvKind::text      ? ColumnType::text
                   : widest == CsvKind::integer ? ColumnType::int64
                                                : ColumnType::float64;
      column.type = demanded_[at].value_or(found);
      if (widest == CsvKind::text && seen[at].numbers)
        column.note = join(" (line ", seen[at].text_line, " has ", seen[at].first_text, ')');
    }
    // A field takes a byte of the text, but one that is left out takes none.
    auto cells = static_cast<int64_t>(columns_.size()) * rows_, most = static_cast<int64_t>(text_.size()) + 1'000'000;
    if (cells > most) {
      problems_.fail(join(rows_, " rows of ", columns_.size(), " columns in ", text_.size(),
                          " bytes: too many fields are left out"));
    }
  }

  void reserve(Column& column) const {
    auto rows = static_cast<size_t>(rows_);
    column.absent.reserve(rows);
    if (column.type == ColumnType::int64) column.integers.reserve(rows);
    if (column.type == ColumnType::float64) column.numbers.reserve(rows);
    if (column.type == ColumnType::text) column.text_ends.reserve(rows);
  }

  void read_values() {
    walk(
        [&](size_t at, const CsvField& field) {
          if (field.stray) problems_.report(field.line, at, field.text, "has text after the closing quote");
          auto value = classify_csv(field.text, options_);
          if (columns_[at].type != ColumnType::text) {
            if (const auto* reason = what_is_wrong(columns_[at].type, value)) {
              problems_.report(field.line, at, field.text, reason);
              value.kind = CsvKind::missing;
            }
          }
          append(columns_[at], field.text, value);
        },
        [&](int64_t line, size_t count) {
          if (count != columns_.size()) {
            problems_.report(
                line, join(count, count == 1 ? " field" : " fields", ", but there are ", columns_.size(), " columns"));
          }
          for (auto at = count; at < columns_.size(); ++at) append(columns_[at], "", {CsvKind::missing});
        });
  }

  static const char* what_is_wrong(ColumnType wanted, const CsvNumber& value) {
    if (value.kind == CsvKind::missing) return nullptr;
    if (value.kind == CsvKind::text) return "is not a number";
    if (!value.in_range) return "is out of the range of float64";
    auto whole = wanted == ColumnType::float64 || value.kind == CsvKind::integer;
    return whole ? nullptr : "is not a whole number of 64 bits";
  }

  static void append(Column& column, std::string_view text, const CsvNumber& value) {
    auto absent = value.kind == CsvKind::missing;
    column.absent.push_back(absent);
    column.missing += absent;
    if (column.type == ColumnType::int64) column.integers.push_back(value.integer);
    if (column.type == ColumnType::float64) column.numbers.push_back(value.floating);
    if (column.type == ColumnType::text) {
      column.text += text;
      column.text_ends.push_back(static_cast<int64_t>(column.text.size()));
    }
  }

  std::string_view text_;
  const CsvOptions& options_;
  CsvProblems problems_;
  std::optional<CsvScanner> start_;  ///< where the rows begin
  std::vector<Column> columns_;
  std::vector<std::optional<ColumnType>> demanded_;
  int64_t rows_ = 0;
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD
