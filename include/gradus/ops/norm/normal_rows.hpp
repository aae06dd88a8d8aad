// What layer norm and rms norm have in common: the operand, memory for the gradient, and sums over rows.
#pragma once

#include "gradus/ops/norm/norm_gradient.hpp"
#include "gradus/ops/norm/row_kernels.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/norm/norm_rows_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// Rows that were normalised, and what their gradient reads.
template <Floating T>
struct NormalRows {
  Tensor<T> x;                    ///< dense: the operand, or its sum with what was added to it
  Tensor<T> normal;               ///< shape of x
  Tensor<Compute<T>> statistics;  ///< of layer norm (rows, 2), a RowMoments each; of rms norm (rows,): 1 / rms
};

/// The operand that rows are normalised of, dense: x itself, or memory for its sum with `added`, where that is defined.
/// Throws ShapeError when these differ in shape.
template <Floating T>
Tensor<T> row_operand(const char* op, const Tensor<T>& x, const Tensor<T>& added) {
  if (!added.defined()) return x;
  require<ShapeError>(x.shape() == added.shape(), op, ": x is ", x.shape(), " and what is added ", added.shape(),
                      ", but both must have the same shape");
  return Tensor<T>::empty(x.shape(), x.device(), op);
}

/// Memory for the gradient of rows of x: that of `past`, what came for x by another way, where it is nobody else's.
template <Floating T>
Tensor<T> row_gradient_memory(const Tensor<T>& past, const Tensor<T>& x) {
  auto fits = past.defined() && past.is_contiguous() && is_nobody_elses(past.impl());
  return fits ? past.detach() : Tensor<T>::empty(x.shape(), x.device());
}

/// Runs body(row, sums for the weight, sums for the bias) over all rows, and gives the parameters' gradients, (width,)
/// each; `wanted`: else the sums are null and the gradients undefined.
template <Floating T, class Body>
std::array<Tensor<T>, 2> sum_over_rows(int64_t rows, int64_t width, bool wanted, bool streamed, Body&& body) {
  auto parts = std::clamp<int64_t>(rows * width / 8192, 1, std::min<int64_t>(32, std::max<int64_t>(rows, 1)));
  ParameterSums<Compute<T>> sums(parts, wanted ? width : 0);
  parallel_chunks(parts, [&](int64_t part) {
    sums.clear(part);
    for (auto row = rows * part / parts; row < rows * (part + 1) / parts; ++row)
      body(row, wanted ? sums.weight(part) : nullptr, wanted ? sums.bias(part) : nullptr);
    if (streamed) stream_fence();
  });
  if (!wanted) return {};
  auto dw = Tensor<T>::empty({width}), db = Tensor<T>::empty({width});
  sums.add_parts(sums.weight(0), reinterpret_cast<T*>(dw.impl()->data()), width);
  sums.add_parts(sums.bias(0), reinterpret_cast<T*>(db.impl()->data()), width);
  return {dw, db};
}

}  // namespace gradus::detail::inline GRADUS_BUILD
