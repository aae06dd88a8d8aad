// Tensors as Eigen matrices and Eigen matrices as tensors, without copies. Nothing here computes: products and
// decompositions are the caller's to write.
#pragma once

#include <Eigen/Core>
#include <memory>
#include <utility>

#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

template <class T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using EigenStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;

/// A type that is an Element and a number Eigen knows: all but our bf16 and f16.
template <class T> concept EigenScalar = Element<T> && !HalfWidth<T>;

template <class Matrix, class T, class Pointer>
auto map_tensor(const char* name, const Tensor<T>& x, Pointer data) {
  require<ShapeError>(x.rank() == 1 || x.rank() == 2, name, ": x is ", x.shape(),
                      ", but an Eigen matrix has 1 or 2 axes; select() or reshape() it first");
  auto columns = x.rank() == 2 ? x.shape()[1] : 1;
  auto column_stride = x.rank() == 2 ? x.strides()[1] : 1;
  return Eigen::Map<Matrix, Eigen::Unaligned, EigenStride>(data, x.shape()[0], columns,
                                                           EigenStride(x.strides()[0], column_stride));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// x's memory as a read-only Eigen matrix: (m, n) as m x n, (n,) as a column. Any strides. Valid while x's memory is.
template <detail::EigenScalar T>
auto as_eigen(const Tensor<T>& x) {
  return detail::map_tensor<const detail::EigenMatrix<T>>("as_eigen", x, x.data());
}

/// The same for writing. Taking it counts as one in-place change of x: autograd refuses it on tensors of a graph,
/// and notices when a gradient needs the old values. Take it anew after x was used again.
template <detail::EigenScalar T>
auto as_mutable_eigen(Tensor<T>& x) {
  for (int axis = 0; axis < x.rank(); ++axis) {
    require<ShapeError>(x.strides()[axis] != 0 || x.shape()[axis] <= 1, "as_mutable_eigen: axis ", axis, " of shape ",
                        x.shape(), " repeats one element (stride 0); clone() it before writing");
  }
  return detail::map_tensor<detail::EigenMatrix<T>>("as_mutable_eigen", x, x.mutable_data());
}

/// A copy of an Eigen matrix or expression, row-major: (rows, cols), or (n,) for what Eigen knows to be a vector.
template <class Derived>
Tensor<typename Derived::Scalar> from_eigen(const Eigen::MatrixBase<Derived>& matrix) {
  using T = typename Derived::Scalar;
  static_assert(detail::EigenScalar<T>, "from_eigen: the scalar is no element type; use matrix.cast<float>()");
  constexpr bool is_vector = Derived::IsVectorAtCompileTime;
  auto result = Tensor<T>::empty(is_vector ? Shape{matrix.size()} : Shape{matrix.rows(), matrix.cols()});
  Eigen::Map<detail::EigenMatrix<T>>(result.mutable_data(), matrix.rows(), matrix.cols()) = matrix;
  return result;
}
template <class Derived>
Tensor<typename Derived::Scalar> from_eigen(const Eigen::ArrayBase<Derived>& array) {
  return from_eigen(array.matrix());
}

/// A tensor on an Eigen matrix's own memory, column-major strides included; both see what the other writes.
/// The matrix must keep its size and outlive the tensor, unless `owner` keeps it alive.
template <class Derived>
Tensor<typename Derived::Scalar> view_eigen(Eigen::DenseBase<Derived>& matrix, std::shared_ptr<void> owner = nullptr) {
  using T = typename Derived::Scalar;
  static_assert(detail::EigenScalar<T>, "view_eigen: the scalar is no element type");
  auto& memory = matrix.derived();
  T* data = memory.data();
  auto row_stride = int64_t{Derived::IsRowMajor ? memory.outerStride() : memory.innerStride()};
  auto column_stride = int64_t{Derived::IsRowMajor ? memory.innerStride() : memory.outerStride()};
  auto shape = Shape{memory.rows(), memory.cols()};
  auto strides = Strides{row_stride, column_stride};
  if constexpr (Derived::IsVectorAtCompileTime) {
    shape = {memory.size()};
    strides = {memory.innerStride()};
  }
  int64_t elements = memory.size() == 0 ? 0 : 1;
  for (int i = 0; i < shape.rank() && elements > 0; ++i) elements += (shape[i] - 1) * strides[i];
  auto storage = detail::Storage::foreign(data, static_cast<size_t>(elements) * sizeof(T), std::move(owner));
  return Tensor<T>(detail::make_impl(dtype_of<T>, std::move(storage), 0, shape, strides));
}

}  // namespace gradus::inline GRADUS_BUILD
