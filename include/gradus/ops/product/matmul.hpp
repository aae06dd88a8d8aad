#pragma once

#include "gradus/device/cpu/gemm.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/product/matmul_cuda.hpp"
#endif
#include "gradus/ops/sum_to.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Rows and columns of one matrix of a stack, at `offset` elements from the first.
template <Element T>
MatrixView<T> matrix_view(const Tensor<T>& x, int64_t offset = 0) {
  auto r = x.rank() - 2, c = x.rank() - 1;
  return {x.data() + offset, x.shape()[r], x.shape()[c], x.strides()[r], x.strides()[c]};
}

/// The axes in front of the last two.
inline Shape leading(const Shape& sizes) { return Shape(std::span(sizes.begin(), sizes.end() - 2)); }

/// One product for each place of the broadcast leading axes; y is dense.
template <Floating T>
void matmul_stack(const Tensor<T>& a, const Tensor<T>& b, Tensor<T>& y) {
  auto stack = leading(y.shape());
#if defined(GRADUS_CUDA)
  if (!a.device().is_cpu()) return matmul_on_card("matmul", *a.impl(), *b.impl(), *y.impl());
#endif
  const Strides strides[] = {broadcast_strides(leading(a.shape()), leading(a.strides()), stack),
                             broadcast_strides(leading(b.shape()), leading(b.strides()), stack)};
  auto plan = plan_loop(stack, strides, 2);
  auto m = y.size(-2), n = y.size(-1), k = a.size(-1), count = stack.numel();
  auto* out = reinterpret_cast<T*>(y.impl()->data());
  auto products = [&](int64_t first, int64_t last) {
    for_each_row(plan, first, last, [&, at = first](const int64_t* offsets, int64_t run) mutable {
      for (int64_t i = 0; i < run; ++i, ++at) {
        gemm(matrix_view(a, offsets[0] + i * plan.inner_stride(0)),
             matrix_view(b, offsets[1] + i * plan.inner_stride(1)), out + at * m * n, n);
      }
    });
  };
  // Few large products share the threads inside; many small ones are spread over them.
  constexpr int64_t large = int64_t{1} << 21;
  if (count < 8 && m * n * k >= large) return products(0, count);
  parallel_for(count, std::max<int64_t>(1, (large / 16) / std::max<int64_t>(m * n * k, 1)), products);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Matrix product. a (..., m, k), b (..., k, n) -> (..., m, n); leading axes broadcast. As in PyTorch a vector (k,) may
/// stand for a or b and its axis is missing from the result. Transposed operands are read in place.
/// Throws ShapeError when the inner sizes differ.
template <Floating T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  require<ShapeError>(a.rank() >= 1 && b.rank() >= 1, "matmul: a is ", a.shape(), " and b is ", b.shape(),
                      ", but both need at least one axis");
  if (a.rank() == 1) return squeeze(matmul(unsqueeze(a, 0), b), b.rank() == 1 ? 0 : -2);
  if (b.rank() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  require<ShapeError>(a.size(-1) == b.size(-2), "matmul: a is ", a.shape(), " and b is ", b.shape(),
                      ", but a's last size must equal b's second to last");
  require<DeviceError>(a.device() == b.device(), "matmul: a is on ", a.device(), " and b on ", b.device());
  if (a.rank() > 2 && b.rank() == 2) {  // one large product instead of a stack
    auto shape = a.shape();
    shape[a.rank() - 1] = b.size(1);
    auto rows = detail::leading(a.shape()).numel() * a.size(-2);
    return reshape(matmul(reshape(a, {rows, a.size(-1)}), b), shape);
  }
  auto shape = broadcast_shapes("matmul", detail::leading(a.shape()), detail::leading(b.shape()));
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  auto y = Tensor<T>::empty(shape, a.device(), "matmul");  // (..., m, n)
  if (shape.numel() > 0) detail::matmul_stack(a, b, y);
  return differentiable("matmul", y,
                        wrt(a, [b = saved(b), shape = a.shape()](
                                   const Tensor<T>& dy) { return sum_to(matmul(dy, transpose(b())), shape); }),
                        wrt(b, [a = saved(a), shape = b.shape()](const Tensor<T>& dy) {
                          return sum_to(matmul(transpose(a()), dy), shape);
                        }));
}

}  // namespace gradus::inline GRADUS_BUILD
