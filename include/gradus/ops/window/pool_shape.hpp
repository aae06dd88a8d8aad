// Options and sizes that max_pool2d and avg_pool2d share.
#pragma once

#include <optional>

#include "gradus/core/thread_pool.hpp"
#include "gradus/ops/window/window_options.hpp"

namespace gradus::inline GRADUS_BUILD {

struct PoolOptions {
  std::optional<Size2d> stride = {};  ///< the kernel's size unless given
  Size2d padding = 0;                 ///< at most half of the kernel
  Size2d dilation = 1;
  bool ceil_mode = false;  ///< windows that hang over the end count too
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

struct PoolShape {
  int64_t n, c, h, w, kh, kw;
  std::array<int64_t, 2> stride, padding, dilation;
  int64_t oh, ow;
  bool channels_last = false;  ///< how the images lie, see tensor/image_layout.hpp
};

inline PoolShape pool_shape(const char* op, const Shape& x, const Size2d& kernel, const PoolOptions& options) {
  require<ShapeError>(x.rank() == 4, op, ": input is ", x, ", but must be (n, channels, height, width)");
  auto stride = options.stride.value_or(kernel);
  require<ValueError>(kernel.rows >= 1 && kernel.columns >= 1 && stride.rows >= 1 && stride.columns >= 1 &&
                          options.dilation.rows >= 1 && options.dilation.columns >= 1,
                      op, ": kernel is ", kernel, ", stride ", stride, " and dilation ", options.dilation,
                      ", but all must be at least 1");
  require<ValueError>(options.padding.rows >= 0 && options.padding.columns >= 0 &&
                          2 * options.padding.rows <= kernel.rows && 2 * options.padding.columns <= kernel.columns,
                      op, ": padding is ", options.padding, ", but must be from 0 to half of the kernel ", kernel);
  auto count = [&](int64_t size, int64_t k, int64_t step, int64_t padding, int64_t dilation) {
    auto room = size + 2 * padding - dilation * (k - 1) - 1;
    require<ShapeError>(room >= 0, op, ": a kernel of ", kernel, " with dilation ", options.dilation,
                        " does not fit into an image of ", Size2d(x[2], x[3]), " with padding ", options.padding);
    auto windows = (room + (options.ceil_mode ? step - 1 : 0)) / step + 1;
    if (options.ceil_mode && (windows - 1) * step >= size + padding) --windows;  // the last one must start inside
    for (int64_t i = 0; dilation > 1 && i < windows && i * step < padding; ++i) {
      auto first = (padding - i * step + dilation - 1) / dilation;
      require<ShapeError>(first < k && i * step - padding + first * dilation < size, op, ": a kernel of ", kernel,
                          " with dilation ", options.dilation, " and padding ", options.padding,
                          " has windows without any element of an image of ", Size2d(x[2], x[3]));
    }
    return windows;
  };
  auto oh = count(x[2], kernel.rows, stride.rows, options.padding.rows, options.dilation.rows);
  auto ow = count(x[3], kernel.columns, stride.columns, options.padding.columns, options.dilation.columns);
  return {x[0],
          x[1],
          x[2],
          x[3],
          kernel.rows,
          kernel.columns,
          stride.array(),
          options.padding.array(),
          options.dilation.array(),
          oh,
          ow};
}

inline int64_t planes_per_chunk(int64_t size) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(size, 1)); }

/// Runs body(first plane, planes) over n * c planes, several a chunk when they are small.
template <class Body>
void for_planes(int64_t planes, int64_t size, Body&& body) {
  parallel_for(planes, planes_per_chunk(size), [&](int64_t first, int64_t last) { body(first, last - first); });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
