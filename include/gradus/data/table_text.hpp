// The parts of a table, and how they are shown to people.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// In quotes, without control characters, and no longer than an error text wants it.
inline std::string shown(std::string_view text) {
  constexpr size_t most = 40;
  constexpr std::string_view digits = "0123456789abcdef";
  auto length = std::min(text.size(), most);
  auto within_character = [&] { return length < text.size() && (static_cast<unsigned char>(text[length]) >> 6) == 2; };
  while (length > most - 4 && within_character()) --length;
  std::string result = "'";
  for (auto character : text.substr(0, length)) {
    auto code = static_cast<unsigned char>(character);
    if (code >= 0x20 && code != 0x7f) result += character;
    else result += {'\\', 'x', digits[code >> 4], digits[code & 15]};
  }
  return result + (length < text.size() ? "'..." : "'");
}

/// "'a', 'b', 'c' and 7 more"
template <class Range, class NameOf>
std::string list_of(const Range& items, NameOf&& name_of) {
  constexpr size_t most = 20;
  std::string text;
  for (size_t i = 0; i < std::min(items.size(), most); ++i) text += (i == 0 ? "" : ", ") + shown(name_of(items[i]));
  return items.size() > most ? join(text, " and ", items.size() - most, " more") : text;
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

enum class ColumnType { int64, float64, text };

inline std::string_view to_string(ColumnType type) {
  constexpr std::string_view names[] = {"int64", "float64", "text"};
  return names[static_cast<int>(type)];
}

/// What a table says about a column.
struct ColumnInfo {
  std::string name;
  ColumnType type = ColumnType::text;
  int64_t missing = 0;  ///< values that are not there

  friend bool operator==(const ColumnInfo&, const ColumnInfo&) = default;
};

/// Something that was wrong with a file.
struct TableIssue {
  int64_t line = 0;    ///< of the file, from 1
  std::string column;  ///< its name; empty when the whole line is meant
  std::string text;    ///< what stands there, in quotes and shortened; empty when the whole line is meant
  std::string reason;

  friend bool operator==(const TableIssue&, const TableIssue&) = default;
  /// "line 7, column 'age': 'abc' is not a number"
  friend std::string to_string(const TableIssue& issue) {
    auto where = join("line ", issue.line);
    if (!issue.column.empty()) where += ", column " + detail::shown(issue.column);
    return where + ": " + (issue.text.empty() ? "" : issue.text + ' ') + issue.reason;
  }
};

}  // namespace gradus::data::inline GRADUS_BUILD

namespace gradus::data::detail::inline GRADUS_BUILD {

struct TableIssues {
  std::vector<TableIssue> first;
  int64_t count = 0;
};

/// Values of one type; the vectors of the other types are empty.
struct Column {
  std::string name;
  ColumnType type = ColumnType::text;
  std::string note;  ///< of a column of text in which there are numbers: " (line 7 has 'abc')"
  int64_t missing = 0;
  std::vector<bool> absent;
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::string text;  ///< all values, one after the other
  std::vector<int64_t> text_ends;

  std::string_view text_of(int64_t row) const {
    auto at = static_cast<size_t>(row);
    auto first = at == 0 ? 0 : static_cast<size_t>(text_ends[at - 1]);
    return std::string_view(text).substr(first, static_cast<size_t>(text_ends[at]) - first);
  }
};

inline std::string table_report(const std::string& source, int64_t rows, const std::vector<Column>& columns,
                                const TableIssues& issues) {
  auto counted = [](auto count, std::string_view what) { return join(count, ' ', what, count == 1 ? "" : "s"); };
  auto text = source + ": " + counted(rows, "row") + ", " + counted(columns.size(), "column") + '\n';
  constexpr size_t most_columns = 50;
  auto listed = std::min(columns.size(), most_columns);
  size_t width = 0;
  for (size_t i = 0; i < listed; ++i) width = std::max(width, shown(columns[i].name).size());
  for (size_t i = 0; i < listed; ++i) {
    const auto& column = columns[i];
    auto name = shown(column.name);
    text += join("  ", name, std::string(width - name.size() + 2, ' '), column.type);
    if (column.missing > 0) text += join(", ", column.missing, " missing");
    text += column.note + '\n';
  }
  if (columns.size() > listed) text += join("  and ", columns.size() - listed, " more\n");
  if (issues.count == 0) return text;
  text += counted(issues.count, "problem") + '\n';
  for (const auto& issue : issues.first) text += "  " + to_string(issue) + '\n';
  auto more = issues.count - static_cast<int64_t>(issues.first.size());
  return more > 0 ? text + join("  and ", more, " more\n") : text;
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD
