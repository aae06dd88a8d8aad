// Numbers in text: which kind a field holds.
#pragma once

#include <charconv>
#include <cmath>

#include "gradus/data/csv_scanner.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// From the narrowest to the widest: a column is what the widest of its values is.
enum class CsvKind { missing, integer, floating, text };

struct CsvNumber {
  CsvKind kind = CsvKind::text;
  bool in_range = true;  ///< of double
  int64_t integer = 0;
  double floating = 0;  ///< also of whole numbers
};

/// Whole numbers beyond 64 bits are floating; "inf" is a number, "nan" is missing.
inline CsvNumber parse_csv_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const auto *first = text.data(), *last = first + text.size();
  CsvNumber number;
  if (auto [end, error] = std::from_chars(first, last, number.integer); end == last && error == std::errc()) {
    number.kind = CsvKind::integer;
    number.floating = static_cast<double>(number.integer);
    return number;
  }
  auto [end, error] = std::from_chars(first, last, number.floating);
  if (end != last || error == std::errc::invalid_argument) return number;
  number.in_range = error == std::errc();
  number.kind = number.in_range && std::isnan(number.floating) ? CsvKind::missing : CsvKind::floating;
  return number;
}

/// What a field is. Spaces around numbers and around the words for what is missing do not count.
inline CsvNumber classify_csv(std::string_view field, const CsvOptions& options) {
  auto text = without_spaces(field);
  CsvNumber missing{CsvKind::missing};
  if (text.empty()) return missing;
  for (const auto& word : options.missing) {
    if (text == word) return missing;
  }
  return parse_csv_number(text);
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD
