#pragma once

#include <array>
#include <cstdint>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Sizes of a convolution: x (n, c_in, h, w), weights (c_out, c_in / groups, kh, kw), y (n, c_out, oh, ow).
struct ConvShape {
  int64_t n, c_in, h, w, c_out, kh, kw;
  std::array<int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  int64_t groups = 1;

  int64_t oh() const { return (h + 2 * padding[0] - dilation[0] * (kh - 1) - 1) / stride[0] + 1; }
  int64_t ow() const { return (w + 2 * padding[1] - dilation[1] * (kw - 1) - 1) / stride[1] + 1; }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
