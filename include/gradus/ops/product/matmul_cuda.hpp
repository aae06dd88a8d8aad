// Products of stacks of matrices on a GPU.
#pragma once

#include "gradus/device/cuda/cublaslt.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/copy_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_bias_text = R"cuda(
GRADUS_KERNEL add_row(int64 count, int64 columns, T* y, const T* bias) {
  GRADUS_EACH(i, count) y[i] = narrow<T>(widen(y[i]) + widen(bias[i % columns]));
}
GRADUS_KERNEL repeat_row(int64 count, int64 columns, T* y, const T* bias) {
  GRADUS_EACH(i, count) y[i] = bias[i % columns];
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_bias{"bias", cuda_bias_text};

/// x itself when each of its matrices has a stride of 1 and one that spans its rows or columns, else a dense copy.
inline TensorRef card_operand(const TensorRef& x) {
  auto r = x->shape.rank() - 2, c = r + 1;
  auto fits = [&](int near, int far) {
    return x->strides[near] == 1 && (x->shape[far] <= 1 || x->strides[far] >= std::max<int64_t>(x->shape[near], 1));
  };
  auto row_wise = (x->strides[c] == 1 || x->shape[c] <= 1) && (x->shape[r] <= 1 || x->strides[r] >= x->shape[c]);
  if (row_wise || fits(r, c)) return x;
  auto dense = allocate_impl(x->dtype, x->shape, x->storage->device());
  copy_elements(*dense, *x);
  return dense;
}

/// y = a b (+ bias) for each place of the broadcast leading axes; y is dense.
inline void matmul_on_card(const char* op, const TensorImpl& a_in, const TensorImpl& b_in, TensorImpl& y,
                           const TensorImpl* bias = nullptr) {
  auto device = y.storage->device();
  if (y.numel == 0) return;
  auto columns = y.shape[y.shape.rank() - 1], rows = y.shape[y.shape.rank() - 2];
  auto inner = a_in.shape[a_in.shape.rank() - 1];
  if (inner == 0) {
    char zero[8] = {};
    if (bias == nullptr) return fill_on_card(y, zero);
    return cuda::detail::launch_each(op, device, cuda_bias, {y.dtype}, "repeat_row", y.numel, y.numel, columns,
                                     y.data(), bias->data());
  }
  auto view = [](const TensorImpl& x) { return make_impl(x.dtype, x.storage, x.offset, x.shape, x.strides); };
  auto a = card_operand(view(a_in)), b = card_operand(view(b_in));
  auto outer = [](const auto& sizes) {
    std::remove_cvref_t<decltype(sizes)> result;
    for (int i = 0; i + 2 < sizes.rank(); ++i) result.push_back(sizes[i]);
    return result;
  };
  auto stack = outer(y.shape);
  const Strides strides[] = {broadcast_strides(outer(a->shape), outer(a->strides), stack),
                             broadcast_strides(outer(b->shape), outer(b->strides), stack)};
  auto plan = plan_loop(stack, strides, 2);
  auto size = int64_t{size_of(y.dtype)};
  auto with_tail = bias != nullptr && y.dtype != DType::f64;  // cuBLASLt has none for double
  auto matrix = [&](const TensorImpl& x, int64_t offset, int operand) {
    auto r = x.shape.rank() - 2;
    return cuda::detail::CardMatrix{x.data() + offset * size, x.shape[r],
                                    x.shape[r + 1],           x.strides[r],
                                    x.strides[r + 1],         plan.inner_stride(operand)};
  };
  int64_t at = 0;
  for_each_row(plan, 0, stack.numel(), [&](const int64_t* offsets, int64_t run) {
    cuda::detail::CardProduct product;
    product.type = y.dtype;
    product.a = matrix(*a, offsets[0], 0);
    product.b = matrix(*b, offsets[1], 1);
    product.d = y.data() + at * rows * columns * size;
    product.d_stack_stride = rows * columns;
    product.count = run;
    product.bias = with_tail ? bias->data() : nullptr;
    cuda::detail::LtProducts::of(device).run(product, op);
    at += run;
  });
  if (bias != nullptr && !with_tail)
    cuda::detail::launch_each(op, device, cuda_bias, {y.dtype}, "add_row", y.numel, y.numel, columns, y.data(),
                              bias->data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
