// Sizes of a tensor, kept inline: making, copying or comparing a shape never allocates.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "gradus/core/error.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Sizes (or strides, in elements) along the axes of a tensor. At most `max_rank` axes.
class Shape {
 public:
  static constexpr int max_rank = 8;

  constexpr Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) {
    require<ShapeError>(sizes.size() <= max_rank, "shape: ", sizes.size(), " axes, but a tensor has at most ",
                        max_rank);
    for (auto size : sizes) sizes_[static_cast<size_t>(rank_++)] = size;
  }
  static Shape filled(int rank, int64_t value) {
    Shape shape;
    for (int i = 0; i < rank; ++i) shape.push_back(value);
    return shape;
  }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t& operator[](int axis) { return sizes_[static_cast<size_t>(axis)]; }
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(axis)]; }
  int64_t back() const { return sizes_[static_cast<size_t>(rank_ - 1)]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }

  /// Product of the sizes; 1 for a scalar. Throws ShapeError when it does not fit 63 bits.
  int64_t numel() const {
    int64_t count = 1;
    bool overflow = false;
    for (auto size : *this) overflow |= __builtin_mul_overflow(count, size, &count);
    if (overflow) {
      for (auto size : *this)
        if (size == 0) return 0;
      require<ShapeError>(false, "shape: ", *this, " holds more elements than 63 bits can count");
    }
    return count;
  }

  void push_back(int64_t size) {
    require<ShapeError>(rank_ < max_rank, "shape: a tensor has at most ", max_rank, " axes");
    sizes_[static_cast<size_t>(rank_++)] = size;
  }
  void insert(int axis, int64_t size) {
    push_back(size);
    std::rotate(sizes_.begin() + axis, sizes_.begin() + rank_ - 1, sizes_.begin() + rank_);
  }
  void erase(int axis) {
    std::rotate(sizes_.begin() + axis, sizes_.begin() + axis + 1, sizes_.begin() + rank_);
    --rank_;
  }

  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

  /// "(2, 3)", "(5,)", "()": as Python prints them.
  friend std::string to_string(const Shape& shape) {
    std::string text = "(";
    for (int i = 0; i < shape.rank(); ++i) {
      if (i > 0) text += ", ";
      text += std::to_string(shape[i]);
    }
    return text + (shape.rank() == 1 ? ",)" : ")");
  }

 private:
  std::array<int64_t, max_rank> sizes_{};
  int rank_ = 0;
};

using Strides = Shape;

/// Strides of a dense row-major tensor of this shape.
inline Strides contiguous_strides(const Shape& shape) {
  auto strides = Strides::filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) {  // an empty tensor's may overflow, and are never used
    __builtin_mul_overflow(strides[i + 1], std::max<int64_t>(shape[i + 1], 1), &strides[i]);
  }
  return strides;
}

/// The axis counted from the front: -1 is the last. Throws IndexError that names the operator.
inline int normalize_axis(std::string_view op, int64_t axis, int rank) {
  require<IndexError>(axis >= -rank && axis < rank, op, ": axis ", axis, " of a tensor with ", rank, " axes");
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

/// NumPy's rule: align at the last axis; sizes match, or one of them is 1.
inline Shape broadcast_shapes(std::string_view op, const Shape& a, const Shape& b) {
  if (a == b) return a;
  auto rank = std::max(a.rank(), b.rank());
  auto result = Shape::filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    auto size_a = i <= a.rank() ? a[a.rank() - i] : 1;
    auto size_b = i <= b.rank() ? b[b.rank() - i] : 1;
    require<ShapeError>(size_a == size_b || size_a == 1 || size_b == 1, op, ": shapes ", a, " and ", b,
                        " do not broadcast: sizes ", size_a, " and ", size_b, " must be equal, or one of them 1");
    result[rank - i] = size_a == 1 ? size_b : size_a;
  }
  return result;
}

}  // namespace gradus::inline GRADUS_BUILD
