// Reads CSV files (RFC 4180) into tables whose column types it finds by itself.
#pragma once

#include "gradus/data/byte_source.hpp"
#include "gradus/data/csv_reader.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

/// The whole file, unpacked.
inline std::string read_csv_text(const std::string& path, const CsvOptions& options) {
  ByteSource source(path);
  std::string text;
  constexpr int64_t part = 1 << 20;
  for (int64_t count = -1; count != 0;) {
    auto size = text.size();
    text.resize(size + static_cast<size_t>(part));
    count = source.read(text.data() + size, part);
    text.resize(size + static_cast<size_t>(count));
    require<FormatError>(static_cast<int64_t>(text.size()) <= options.max_bytes, "read_csv: ", path,
                         " holds more than ", options.max_bytes, " bytes (CsvOptions::max_bytes)");
  }
  return text;
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

/// The table that `text` holds, in CSV (RFC 4180): fields between separators, in quotes where they hold separators,
/// quotes (doubled) or line ends. A column of which all values are whole numbers is int64, of numbers float64, and of
/// anything else text. An empty field, and each word of CsvOptions::missing, is a missing value.
///
/// FormatError names line and column of what is wrong: a field that is not what CsvOptions::types demands, a number
/// that float64 cannot hold, a row with more or fewer fields than there are columns. With CsvOptions::strict = false
/// these are missing values and stand in Table::issues(). A quote that never ends, bytes of 0, columns of the same
/// name and texts beyond the limits are errors in any case.
inline Table parse_csv(std::string_view text, const CsvOptions& options = {}) {
  return detail::CsvReader(text, options, "parse_csv").read();
}
/// The same of a file, packed with gzip or not. IoError when it cannot be read.
inline Table read_csv(const std::string& path, const CsvOptions& options = {}) {
  auto text = detail::read_csv_text(path, options);
  return detail::CsvReader(text, options, "read_csv: " + path).read();
}

}  // namespace gradus::data::inline GRADUS_BUILD
