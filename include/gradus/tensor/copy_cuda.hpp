// Copies, fills and casts of tensors on a GPU, and between it and the host.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/cuda_loop.hpp"
#include "gradus/tensor/image_layout.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_move_text = R"cuda(
// to is row 0 of the layout, from row 1.
template <class From, class To>
struct Convert {
  static __device__ __forceinline__ To of(From x) { return narrow<To>(widen(x)); }
  template <int N>
  static __device__ __forceinline__ Words<To, N> pack_of(const Words<From, N>& x) {
    return narrow_pack<To>(widen_pack(x));
  }
};
template <class Same>
struct Convert<Same, Same> {
  static __device__ __forceinline__ Same of(Same x) { return x; }
  template <int N>
  static __device__ __forceinline__ Words<Same, N> pack_of(const Words<Same, N>& x) {
    return x;
  }
};
GRADUS_DEVICE bool are_aligned(const void* a, const void* b) {
  return (reinterpret_cast<unsigned long long>(a) | reinterpret_cast<unsigned long long>(b)) % 16 == 0;
}
GRADUS_DEVICE int64 min(int64 a, int64 b) { return a < b ? a : b; }
GRADUS_KERNEL move(const __grid_constant__ Layout layout, U* to, const T* from) {
  GRADUS_EACH(i, layout.count) {
    const Offsets<2> at = offsets_at<2>(layout, i);
    to[at.of[0]] = Convert<T, U>::of(from[at.of[1]]);
  }
}
GRADUS_KERNEL fill(const __grid_constant__ Layout layout, U* to, T value) {
  GRADUS_EACH(i, layout.count) to[offsets_at<1>(layout, i).of[0]] = Convert<T, U>::of(value);
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL accumulate(int64 count, T* to, const T* from) {
  GRADUS_EACH(pack, (count + 7) / 8) {
    const int64 first = pack * 8;
    if (first + 8 <= count && are_aligned(to, from)) {
      Words<T, 8> kept, added;
      load_words<sizeof(kept)>(&kept, to + first);
      load_words<sizeof(added)>(&added, from + first);
      auto a = widen_pack(kept);
      const auto b = widen_pack(added);
#pragma unroll
      for (int k = 0; k < 8; ++k) a.at[k] += b.at[k];
      kept = narrow_pack<T>(a);
      store_words<sizeof(kept)>(to + first, &kept);
    } else {
      for (int64 i = first; i < min(first + 8, count); ++i) to[i] = narrow<T>(widen(to[i]) + widen(from[i]));
    }
  }
}
// Both dense: eight elements a thread, so that the loads are wide.
GRADUS_WIDE(T, U)
GRADUS_KERNEL convert(int64 count, U* to, const T* from) {
  GRADUS_EACH(pack, (count + 7) / 8) {
    const int64 first = pack * 8;
    if (first + 8 <= count) {
      Words<T, 8> in;
      load_words<sizeof(in)>(&in, from + first);
      const Words<U, 8> out = Convert<T, U>::pack_of(in);
      store_words<sizeof(out)>(to + first, &out);
    } else {
      for (int64 i = first; i < count; ++i) to[i] = Convert<T, U>::of(from[i]);
    }
  }
}
// A matrix (rows, columns) of `from` becomes (columns, rows) of `to`, through a tile, so that both sides are read and
// written along memory.
GRADUS_KERNEL block_transpose(int64 rows, int64 columns, int64 tiles, U* to, const T* from) {
  __shared__ T tile[32][33];
  const int64 across = (columns + 31) / 32, down = (rows + 31) / 32;
  for (int64 t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64 matrix = t / (across * down), r0 = t % (across * down) / across * 32, c0 = t % across * 32;
    const T* in = from + matrix * rows * columns;
    U* out = to + matrix * rows * columns;
    for (int k = threadIdx.x / 32; k < 32; k += 8) {
      const int64 r = r0 + k, c = c0 + threadIdx.x % 32;
      if (r < rows && c < columns) tile[k][threadIdx.x % 32] = in[r * columns + c];
    }
    __syncthreads();
    for (int k = threadIdx.x / 32; k < 32; k += 8) {
      const int64 c = c0 + k, r = r0 + threadIdx.x % 32;
      if (r < rows && c < columns) out[c * rows + r] = Convert<T, U>::of(tile[threadIdx.x % 32][k]);
    }
    __syncthreads();
  }
}
)cuda";

inline constexpr std::string_view cuda_offsets = R"cuda(
// Where an element is in the operands of a layout's first N rows.
template <int N>
struct Offsets {
  int64 of[N];
};
template <int N>
GRADUS_DEVICE Offsets<N> offsets_at(const Layout& layout, int64 index) {
  Offsets<N> offsets = {};
#pragma unroll 1
  for (int axis = layout.rank - 1; axis >= 0; --axis) {
    const int64 outer = axis == 0 ? 0 : __umul64hi(index, layout.factors[axis]) >> layout.shifts[axis - 1];
    const int64 steps = index - outer * layout.sizes[axis];
#pragma unroll
    for (int row = 0; row < N; ++row) offsets.of[row] += steps * layout.strides[row][axis];
    index = outer;
  }
  return offsets;
}
)cuda";

/// A family's text behind cuda_pointwise_loop, whose Layout it uses.
inline std::string cuda_with_loop(std::string_view text) {
  // The loop is in a namespace of its own; behind it all types have gradus, that of bf16's short functions too.
  return join("}\n", cuda_pointwise_loop, "namespace gradus {\n", cuda_offsets, text);
}
inline const cuda::detail::KernelText& cuda_move() {
  static const std::string text = cuda_with_loop(cuda_move_text);
  static const cuda::detail::KernelText family{"move", text};
  return family;
}

inline bool on_card(const TensorImpl& x) { return !x.storage->device().is_cpu(); }

/// Whether `to` and `from`, of one shape, are a dense stack of matrices and their transposes; then sets the sizes of
/// from's matrices.
inline bool is_transposed(const LoopPlan& plan, int64_t& rows, int64_t& columns) {
  auto last = plan.rank - 1;
  if (last < 1 || last > 2) return false;
  auto at = [&](int operand, int axis) {
    return plan.strides[static_cast<size_t>(operand)][static_cast<size_t>(axis)];
  };
  auto size = [&](int axis) { return plan.sizes[static_cast<size_t>(axis)]; };
  columns = size(last - 1);  // of from
  rows = size(last);
  if (at(0, last) != 1 || at(0, last - 1) != rows || at(1, last - 1) != 1 || at(1, last) != columns) return false;
  return last == 1 || (at(0, 0) == rows * columns && at(1, 0) == rows * columns);
}

/// to = from, converted, on one card; same shape, no overlap.
inline void move_on_card(TensorImpl& to, const TensorImpl& from) {
  auto device = to.storage->device();
  auto* target = to.data();
  auto* source = static_cast<const char*>(from.data());
  // Along the memory that is written.
  auto turned = is_channels_last(to);
  const Strides strides[] = {turned ? channels_behind(to.strides) : to.strides,
                             turned ? channels_behind(from.strides) : from.strides};
  auto plan = plan_loop(turned ? channels_behind(to.shape) : to.shape, strides, 2);
  auto types = {from.dtype, to.dtype};
  int64_t rows = 0, columns = 0;
  if (plan.rank == 1 && plan.inner_stride(0) == 1 && plan.inner_stride(1) == 1) {
    if (to.dtype == from.dtype) {
      auto bytes = static_cast<size_t>(to.numel * size_of(to.dtype));
      return cuda::detail::Context::of(device).on_device(target, source, bytes, "copy");
    }
    auto aligned = reinterpret_cast<uintptr_t>(target) % 16 == 0 && reinterpret_cast<uintptr_t>(source) % 16 == 0;
    if (aligned) {
      auto packs = (to.numel + 7) / 8;
      return cuda::detail::launch_each("cast", device, cuda_move(), types, "convert", packs, to.numel, target, source);
    }
  } else if (is_transposed(plan, rows, columns) && rows >= 16 && columns >= 16) {
    auto tiles = to.numel / (rows * columns) * ((rows + 31) / 32) * ((columns + 31) / 32);
    return cuda::detail::launch_blocks("copy", device, cuda_move(), types, "block_transpose", tiles, rows, columns,
                                       tiles, target, source);
  }
  auto layout = cuda_layout(plan);
  cuda::detail::launch_each("copy", device, cuda_move(), types, "move", to.numel, layout, target, source);
}

/// to += from, both dense.
inline void add_on_card(TensorImpl& to, const TensorImpl& from) {
  auto device = to.storage->device();
  cuda::detail::launch_each("add", device, cuda_move(), {to.dtype, to.dtype}, "accumulate", (to.numel + 7) / 8,
                            to.numel, to.data(), from.data());
}

inline void fill_on_card(TensorImpl& to, const void* value) {
  auto device = to.storage->device();
  auto& context = cuda::detail::Context::of(device);
  auto bytes = static_cast<size_t>(size_of(to.dtype));
  char zeros[8] = {};
  if (to.is_contiguous() && std::memcmp(value, zeros, bytes) == 0)
    return context.set_bytes(to.data(), 0, bytes * static_cast<size_t>(to.numel), "fill");
  auto layout = cuda_layout(plan_loop(to.shape, &to.strides, 1));
  alignas(8) char number[8] = {};
  std::memcpy(number, value, bytes);
  cuda::detail::launch_each("fill", device, cuda_move(), {to.dtype, to.dtype}, "fill", to.numel, layout, to.data(),
                            number);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
