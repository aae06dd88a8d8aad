// Cuts the text of a CSV file into fields (RFC 4180).
#pragma once

#include "gradus/data/csv_options.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

struct CsvField {
  std::string_view text;  ///< without quotes; valid until the next field is read
  int64_t line = 0;       ///< where it begins
  bool ends_row = false;
  bool stray = false;  ///< there is text after the closing quote
};

inline std::string_view without_spaces(std::string_view text) {
  constexpr std::string_view spaces = " \t";
  auto first = text.find_first_not_of(spaces);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(spaces) + 1 - first);
}

/// Lines end with "\n", "\r\n" or "\r"; empty ones are left out.
class CsvScanner {
 public:
  CsvScanner(std::string_view text, const CsvOptions& options, const CsvProblems& problems)
      : text_(text), options_(options), problems_(problems) {}

  /// The next field; false at the end of the text.
  bool next(CsvField& field) {
    if (at_row_start_) {
      while (skip_line_end()) {
      }
      if (at_ == text_.size()) return false;
      column_ = 0;
    }
    if (options_.trim) skip_spaces();
    field.line = line_;
    field.stray = false;
    if (options_.quote != '\0' && at_ < text_.size() && text_[at_] == options_.quote) read_quoted(field);
    else field.text = options_.trim ? without_spaces(read_plain()) : read_plain();
    check_size(field, field.text.size());
    ++column_;
    field.ends_row = at_ == text_.size() || text_[at_] != options_.separator;
    at_row_start_ = field.ends_row;
    if (field.ends_row) skip_line_end();
    else ++at_;
    return true;
  }

 private:
  bool ends_field(char c) const { return c == options_.separator || c == '\n' || c == '\r'; }

  std::string_view read_plain() {
    auto first = at_;
    while (at_ < text_.size() && !ends_field(text_[at_])) ++at_;
    return text_.substr(first, at_ - first);
  }

  void read_quoted(CsvField& field) {
    auto first = ++at_;  // of what is not in unquoted_ yet
    unquoted_.clear();
    for (;;) {
      auto end = text_.find(options_.quote, at_);
      if (end == text_.npos) problems_.fail(field.line, column_, "this quote never ends");
      count_lines(at_, end);
      at_ = end + 1;
      if (at_ == text_.size() || text_[at_] != options_.quote) break;
      unquoted_ += text_.substr(first, at_ - first);  // one of the two quotes
      check_size(field, unquoted_.size());
      first = ++at_;
    }
    field.text = text_.substr(first, at_ - 1 - first);
    if (options_.trim) skip_spaces();
    field.stray = at_ < text_.size() && !ends_field(text_[at_]);
    if (unquoted_.empty() && !field.stray) return;
    unquoted_ += field.text;
    unquoted_ += read_plain();
    field.text = unquoted_;
  }

  void check_size(const CsvField& field, size_t bytes) const {
    if (static_cast<int64_t>(bytes) <= options_.max_field_bytes) return;
    problems_.fail(field.line, column_,
                   join("a field of ", bytes, " bytes, but at most ", options_.max_field_bytes,
                        " are allowed; is the end of a quote missing?"));
  }
  void count_lines(size_t first, size_t last) {
    for (auto i = first; i < last; ++i) line_ += text_[i] == '\n' || (text_[i] == '\r' && text_[i + 1] != '\n');
  }
  bool skip_line_end() {
    if (at_ == text_.size() || (text_[at_] != '\n' && text_[at_] != '\r')) return false;
    at_ += text_.substr(at_, 2) == "\r\n" ? 2 : 1;
    ++line_;
    return true;
  }
  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t') && text_[at_] != options_.separator) ++at_;
  }

  std::string_view text_;
  const CsvOptions& options_;
  const CsvProblems& problems_;
  std::string unquoted_;
  size_t at_ = 0, column_ = 0;
  int64_t line_ = 1;
  bool at_row_start_ = true;
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD
