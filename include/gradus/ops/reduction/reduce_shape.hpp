// Which axes a reduction is over.
#pragma once

#include <array>
#include <initializer_list>

#include "gradus/core/shape.hpp"

namespace gradus::inline GRADUS_BUILD {

/// The axes of a reduction: one number, or a list. Negative ones count from the end.
class Axes : public Shape {
 public:
  Axes() = default;
  Axes(int axis) : Shape{axis} {}
  Axes(int64_t axis) : Shape{axis} {}
  Axes(std::initializer_list<int64_t> axes) : Shape(axes) {}

  /// Every axis of a tensor.
  static Axes all(int rank) {
    Axes axes;
    for (int i = 0; i < rank; ++i) axes.push_back(i);
    return axes;
  }
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// Which axes of x are kept and which are reduced, and the shape of the result.
struct ReduceShape {
  Shape kept, reduced, keep_dims;  ///< keep_dims: reduced axes have size 1
  Strides kept_strides, reduced_strides;

  ReduceShape(const char* op, const Shape& shape, const Strides& strides, const Axes& axes) {
    std::array<bool, Shape::max_rank> is_reduced{};
    for (auto axis : axes) {
      auto& flag = is_reduced[static_cast<size_t>(normalize_axis(op, axis, shape.rank()))];
      require<ShapeError>(!flag, op, ": axis ", axis, " is named twice");
      flag = true;
    }
    for (int i = 0; i < shape.rank(); ++i) {
      auto gone = is_reduced[static_cast<size_t>(i)];
      (gone ? reduced : kept).push_back(shape[i]);
      (gone ? reduced_strides : kept_strides).push_back(strides[i]);
      keep_dims.push_back(gone ? 1 : shape[i]);
    }
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD
