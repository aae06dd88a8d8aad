// A tensor whose element type is a value, so that the checks of operators are compiled once and not in each test.
#pragma once

#include <string>
#include <vector>

#include "gradus/autograd/autograd.hpp"

namespace gradus::test {

class AnyTensor {
 public:
  AnyTensor() = default;
  template <Element T>
  AnyTensor(const Tensor<T>& x) : impl_(x.impl()) {}
  explicit AnyTensor(detail::TensorRef impl) : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  DType dtype() const { return impl_->dtype; }
  bool is_floating() const { return defined() && (dtype() <= DType::bf16 || dtype() == DType::f16); }
  const Shape& shape() const { return impl_->shape; }
  int64_t numel() const { return impl_->numel; }
  const detail::TensorRef& impl() const { return impl_; }

  /// The typed tensor; T must be the element type.
  template <Element T>
  Tensor<T> as() const {
    require<TypeError>(dtype() == dtype_of<T>, "AnyTensor: elements are ", dtype(), ", not ", dtype_of<T>);
    return Tensor<T>(impl_);
  }
  /// Elements converted as by cast, not recorded; itself when there is nothing to convert.
  AnyTensor cast(DType type) const;
  /// A dense copy outside any graph.
  AnyTensor clone() const;
  /// All elements in row-major order.
  std::vector<double> values() const;

 private:
  detail::TensorRef impl_;
};

/// Calls f(T{}) with the C++ type of `type`.
template <class F>
decltype(auto) with_type(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    case DType::i64:
      return f(int64_t{});
    case DType::i32:
      return f(int32_t{});
    case DType::u8:
      return f(uint8_t{});
    default:
      return f(bool{});
  }
}

/// The same elements laid out in memory in other ways; what lies between them is 0xff.
AnyTensor scattered(const AnyTensor& x);  ///< axes in reversed order, two elements apart, not at the start
AnyTensor gapped(const AnyTensor& x);     ///< row-major with a gap after every row
/// The same memory, gaps and all, on another device.
AnyTensor on_device(const AnyTensor& x, Device device);
/// The same elements on the same device; images (n, c, h, w) lie channels last then.
AnyTensor channels_last(const AnyTensor& x);
/// Elements first, first + 1, ... first + count - 1 of a vector, as a view.
AnyTensor part_of(const AnyTensor& vector, int64_t first, int64_t count);
/// A vector of `count` elements that repeats x's over and over. x must have some.
AnyTensor repeated(const AnyTensor& x, int64_t count);
/// A dense copy of x broadcast to `shape`.
AnyTensor broadcast(const AnyTensor& x, const Shape& shape);

}  // namespace gradus::test
