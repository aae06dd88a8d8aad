// Raw copies, fills and casts between strided tensors. Nothing here is recorded.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>

#include "gradus/core/thread_pool.hpp"
#include "gradus/tensor/image_layout.hpp"
#include "gradus/tensor/loop.hpp"
#include "gradus/tensor/transposed_copy.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/tensor/copy_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int64_t elements_per_chunk = 32768;  // a chunk of work worth a thread's while

/// Copies n elements of `bytes` bytes each, from and to any stride (in elements).
template <class Word>
void copy_run(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t n) {
  auto* target = reinterpret_cast<Word*>(to);
  auto* source = reinterpret_cast<const Word*>(from);
  if (to_stride == 1 && from_stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(Word));
  } else if (from_stride == 0) {
    for (int64_t i = 0; i < n; ++i) target[i * to_stride] = source[0];
  } else {
    for (int64_t i = 0; i < n; ++i) target[i * to_stride] = source[i * from_stride];
  }
}

inline void copy_run(int bytes, char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t n) {
  switch (bytes) {
    case 1:
      return copy_run<uint8_t>(to, to_stride, from, from_stride, n);
    case 2:
      return copy_run<uint16_t>(to, to_stride, from, from_stride, n);
    case 4:
      return copy_run<uint32_t>(to, to_stride, from, from_stride, n);
    default:
      return copy_run<uint64_t>(to, to_stride, from, from_stride, n);
  }
}

/// Whether the stretches of memory from the first to the last element meet.
inline bool may_overlap(const TensorImpl& a, const TensorImpl& b) {
  auto end = [](const TensorImpl& x) {
    int64_t last = 0;
    for (int i = 0; i < x.shape.rank(); ++i) last += (x.shape[i] - 1) * x.strides[i];
    return x.data() + (last + 1) * size_of(x.dtype);
  };
  return std::less<>()(a.data(), end(b)) && std::less<>()(b.data(), end(a));
}

inline void copy_elements(TensorImpl& to, const TensorImpl& from);

#if defined(GRADUS_CUDA)
/// to = from between two devices.
inline void copy_across(TensorImpl& to, const TensorImpl& from) {
  auto there = to.storage->device(), here = from.storage->device();
  if (!from.is_contiguous()) {
    auto dense = allocate_impl(from.dtype, from.shape, here);
    copy_elements(*dense, from);
    return copy_across(to, *dense);
  }
  if (!to.is_contiguous()) {  // and then into its places
    auto dense = allocate_impl(from.dtype, from.shape, there);
    copy_across(*dense, from);
    return copy_elements(to, *dense);
  }
  auto bytes = static_cast<size_t>(to.numel * size_of(to.dtype));
  if (!here.is_cpu() && !there.is_cpu()) {
    auto& source = cuda::detail::Context::of(here);
    return cuda::detail::Context::of(there).from_other_card(to.data(), source, from.data(), bytes, "copy");
  }
  if (here.is_cpu()) cuda::detail::Context::of(there).to_device(to.data(), from.data(), bytes, "copy");
  else cuda::detail::Context::of(here).to_host(to.data(), from.data(), bytes, "copy");
}
#endif

/// to = from, element by element; same shape and element type. Operands that overlap in part are copied right.
inline void copy_elements(TensorImpl& to, const TensorImpl& from) {
  if (to.numel == 0 || (to.data() == from.data() && to.strides == from.strides)) return;
  if (may_overlap(to, from)) {
    auto apart = allocate_impl(from.dtype, from.shape, from.storage->device());
    copy_elements(*apart, from);
    return copy_elements(to, *apart);
  }
#if defined(GRADUS_CUDA)
  if (to.storage->device() != from.storage->device()) return copy_across(to, from);
  if (on_card(to)) return move_on_card(to, from);
#endif
  auto bytes = size_of(to.dtype);
  const Strides strides[] = {to.strides, from.strides};
  auto plan = plan_loop(to.shape, strides, 2);
  if (auto axis = turned_axis(plan); axis >= 0) return copy_turned(plan, axis, bytes, to.data(), from.data());
  auto to_stride = plan.inner_stride(0), from_stride = plan.inner_stride(1);
  parallel_for(to.numel, elements_per_chunk, [&](int64_t first, int64_t last) {
    for_each_row(plan, first, last, [&](const int64_t* offsets, int64_t n) {
      copy_run(bytes, to.data() + offsets[0] * bytes, to_stride, from.data() + offsets[1] * bytes, from_stride, n);
    });
  });
}

/// Every element of `to` becomes the one that `value` points to.
inline void fill_elements(TensorImpl& to, const void* value) {
  if (to.numel == 0) return;
#if defined(GRADUS_CUDA)
  if (on_card(to)) return fill_on_card(to, value);
#endif
  auto bytes = size_of(to.dtype);
  auto plan = plan_loop(to.shape, &to.strides, 1);
  parallel_for(to.numel, elements_per_chunk, [&](int64_t first, int64_t last) {
    for_each_row(plan, first, last, [&](const int64_t* offsets, int64_t n) {
      copy_run(bytes, to.data() + offsets[0] * bytes, plan.inner_stride(0), static_cast<const char*>(value), 0, n);
    });
  });
}

/// to = static_cast<To>(from), element by element; bool is value != 0.
template <Element To, Element From>
void cast_elements(TensorImpl& to, const TensorImpl& from) {
  if (to.numel == 0) return;
#if defined(GRADUS_CUDA)
  if (on_card(to)) return move_on_card(to, from);
#endif
  const Strides strides[] = {to.strides, from.strides};
  auto plan = plan_loop(to.shape, strides, 2);
  auto to_stride = plan.inner_stride(0), from_stride = plan.inner_stride(1);
  parallel_for(to.numel, elements_per_chunk, [&](int64_t first, int64_t last) {
    for_each_row(plan, first, last, [&](const int64_t* offsets, int64_t n) {
      auto* target = reinterpret_cast<To*>(to.data()) + offsets[0];
      auto* source = reinterpret_cast<const From*>(from.data()) + offsets[1];
      for (int64_t i = 0; i < n; ++i) {
        auto value = source[i * from_stride];
        if constexpr (std::is_same_v<To, bool>) {
          target[i * to_stride] = value != From(0);
        } else {
          target[i * to_stride] = static_cast<To>(static_cast<Compute<From>>(value));
        }
      }
    });
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
