// Text of tensors for people: aligned columns, four decimals at most, and only the edges of what is large.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

class TensorPrinter {
 public:
  explicit TensorPrinter(const TensorImpl& x) : x_(x), shortened_(x.numel > largest_whole) {
    if (x_.numel == 0) return;
    each_shown(0, x_.offset, [this](int64_t offset) { look_at(offset); });
    choose_format();
    each_shown(0, x_.offset, [this](int64_t offset) { width_ = std::max(width_, element(offset).size()); });
  }

  /// The elements in nested brackets, as Python's array libraries print them; a scalar without brackets.
  std::string body() {
    text_.clear();
    if (x_.numel == 0) return "[]";
    if (x_.shape.rank() == 0) return element(x_.offset);
    write_axis(0, x_.offset);
    return text_;
  }

 private:
  static constexpr int64_t largest_whole = 1000;  // elements; larger tensors are shortened
  static constexpr int64_t edge = 3;              // positions shown at each end of a shortened axis
  static constexpr size_t line_width = 80;
  static constexpr int decimals_at_most = 4;

  bool is_cut(int axis) const { return shortened_ && x_.shape[axis] > 2 * edge; }

  /// Calls f(position) for the shown positions of an axis; -1 stands for those left out.
  template <class F>
  void each_position(int axis, F&& f) const {
    auto size = x_.shape[axis];
    for (int64_t i = 0; i < size; ++i) {
      if (is_cut(axis) && i == edge) {
        f(int64_t{-1});
        i = size - edge;
      }
      f(i);
    }
  }

  template <class F>
  void each_shown(int axis, int64_t offset, F&& f) const {
    if (axis == x_.shape.rank()) return f(offset);
    each_position(axis, [&](int64_t i) {
      if (i >= 0) each_shown(axis + 1, offset + i * x_.strides[axis], f);
    });
  }

  bool is_floating() const { return x_.dtype <= DType::bf16 || x_.dtype == DType::f16; }

  template <class T>
  T read(int64_t offset) const {
    return reinterpret_cast<const T*>(x_.storage->data())[offset];
  }
  double number(int64_t offset) const {
    if (x_.dtype == DType::f32) return static_cast<double>(read<float>(offset));
    if (x_.dtype == DType::bf16) return static_cast<double>(static_cast<float>(read<bf16>(offset)));
    if (x_.dtype == DType::f16) return static_cast<double>(static_cast<float>(read<f16>(offset)));
    return read<double>(offset);
  }
  int64_t whole_number(int64_t offset) const {
    if (x_.dtype == DType::i64) return read<int64_t>(offset);
    return x_.dtype == DType::i32 ? read<int32_t>(offset) : read<uint8_t>(offset);
  }

  void look_at(int64_t offset) {
    if (!is_floating()) return;
    auto size = std::fabs(number(offset));
    if (!std::isfinite(size) || size == 0) return;
    largest_ = std::max(largest_, size);
    smallest_ = smallest_ == 0 ? size : std::min(smallest_, size);
    all_whole_ = all_whole_ && size == std::floor(size);
  }

  /// Exponents when fixed decimals would hide digits or fill the line; else as few decimals as show all digits.
  void choose_format() {
    if (!is_floating()) return;
    scientific_ = largest_ >= 1e8 || (!all_whole_ && (smallest_ < 1e-4 || largest_ > 1000 * smallest_));
    decimals_ = decimals_at_most;
    int needed = 0;
    each_shown(0, x_.offset, [&](int64_t offset) { needed = std::max(needed, decimals_of(element(offset))); });
    decimals_ = needed;
  }

  /// Decimals before the trailing zeros of "1.2500" or "1.2500e-05".
  static int decimals_of(const std::string& text) {
    auto point = text.find('.');
    if (point == std::string::npos) return 0;
    auto end = std::min(text.find('e'), text.size());
    while (text[end - 1] == '0') --end;
    return static_cast<int>(end - point - 1);
  }

  std::string element(int64_t offset) const {
    if (x_.dtype == DType::boolean) return read<bool>(offset) ? "true" : "false";
    if (!is_floating()) return std::to_string(whole_number(offset));
    auto value = number(offset);
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char buffer[32];
    auto format = scientific_ ? std::chars_format::scientific : std::chars_format::fixed;
    std::string text(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value, format, decimals_).ptr);
    if (decimals_ == 0) text.insert(std::min(text.find('e'), text.size()), ".");  // tells 1. from the integer 1
    return text;
  }

  void write_axis(int axis, int64_t offset) {
    auto indent = static_cast<size_t>(axis) + 1;
    auto inner = axis + 1 == x_.shape.rank();
    auto columns = std::max<size_t>((line_width - indent) / (width_ + 2), 1);
    size_t column = 0;
    bool first = true;
    text_ += '[';
    each_position(axis, [&](int64_t i) {
      if (!first) text_ += inner && column < columns ? ", " : inner ? ",\n" : ',' + line_breaks(axis);
      if (!first && (!inner || column == columns)) {
        text_.append(indent, ' ');
        column = 0;
      }
      first = false;
      ++column;
      if (i < 0) text_ += "...";
      else if (inner) write_element(offset + i * x_.strides[axis]);
      else write_axis(axis + 1, offset + i * x_.strides[axis]);
    });
    text_ += ']';
  }

  /// One line break between rows, one blank line more for every axis further out.
  std::string line_breaks(int axis) const { return std::string(static_cast<size_t>(x_.shape.rank() - axis - 1), '\n'); }

  void write_element(int64_t offset) {
    auto text = element(offset);
    text_.append(width_ - text.size(), ' ');
    text_ += text;
  }

  const TensorImpl& x_;
  bool shortened_;
  double largest_ = 0, smallest_ = 0;  // magnitudes of the finite elements shown that are not 0
  bool all_whole_ = true, scientific_ = false;
  int decimals_ = 0;
  size_t width_ = 0;
  std::string text_;
};

inline std::string print_tensor(const TensorRef& x, DType dtype) {
  auto type = join("tensor<", dtype, ">");
  if (!x) return "undefined " + type;
  auto device = x->storage->device();
  return join(TensorPrinter(*x).body(), '\n', type, x->shape, device.is_cpu() ? "" : " on " + to_string(device));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The elements, then a line with element type and shape ("tensor<float>(2, 3)"). Of more than 1000 elements only
/// the first and last three along each axis are shown.
template <Element T>
std::string to_string(const Tensor<T>& x) {
  return detail::print_tensor(x.impl(), dtype_of<T>);
}

template <Element T>
std::ostream& operator<<(std::ostream& stream, const Tensor<T>& x) {
  return stream << to_string(x);
}

/// "(2, 3)".
inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

}  // namespace gradus::inline GRADUS_BUILD
