// What convolutions and poolings have in common: windows that slide over images.
#pragma once

#include <array>

#include "gradus/core/error.hpp"
#include "gradus/core/shape.hpp"

namespace gradus::inline GRADUS_BUILD {

/// A number for both directions, or one for rows and one for columns: {.stride = 2} or {.stride = {2, 1}}.
struct Size2d {
  int64_t rows = 0, columns = 0;

  constexpr Size2d() = default;
  constexpr Size2d(int both) : rows(both), columns(both) {}
  constexpr Size2d(int64_t both) : rows(both), columns(both) {}
  constexpr Size2d(int64_t for_rows, int64_t for_columns) : rows(for_rows), columns(for_columns) {}

  constexpr std::array<int64_t, 2> array() const { return {rows, columns}; }
  friend constexpr bool operator==(const Size2d&, const Size2d&) = default;
  friend std::string to_string(const Size2d& pair) { return join("(", pair.rows, ", ", pair.columns, ")"); }
};

}  // namespace gradus::inline GRADUS_BUILD
