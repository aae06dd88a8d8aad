// Tables for people, as text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// "1,234,567".
GRADUS_COLD inline std::string with_commas(int64_t number) {
  auto digits = std::to_string(number < 0 ? -number : number);
  std::string text = number < 0 ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// Lines of as many cells each, the first the titles, the last the totals, ruled off from what is between. The first
/// `left` columns begin on their left, the others end on their right.
GRADUS_COLD inline std::string text_table(const std::vector<std::vector<std::string>>& lines, size_t left) {
  std::vector<size_t> widths(lines.front().size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  auto full = 2 * (widths.size() - 1);
  for (auto width : widths) full += width;
  std::string text;
  for (size_t n = 0; n < lines.size(); ++n) {
    if (n < 2 || n + 1 == lines.size()) text.append(full, '-') += '\n';
    auto start = text.size();
    for (size_t i = 0; i < widths.size(); ++i) {
      auto space = widths[i] - lines[n][i].size();
      text.append(i > 0 ? 2 : 0, ' ').append(i < left ? 0 : space, ' ') += lines[n][i];
      text.append(i < left ? space : 0, ' ');
    }
    text.resize(std::max(start, text.find_last_not_of(' ') + 1));
    text += '\n';
  }
  return text;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
