// The loop around every pointwise GPU kernel, as CUDA C++ text, and the host's side of its one layout argument.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gradus/tensor/loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Threads of a block at most: the kernels are compiled for no more.
inline constexpr int cuda_pointwise_threads = 256;

/// n / size is the upper half of n * factor, shifted, for all n below 2^63 and sizes from 2 (Granlund and Montgomery,
/// 1994): a GPU has no instruction that divides 64 bits.
struct CudaDivisor {
  int64_t size;
  uint64_t factor;
  int64_t shift;

  explicit CudaDivisor(int64_t n) : size(n) {
    __extension__ using Wide = unsigned __int128;
    auto unsigned_size = static_cast<uint64_t>(n);
    shift = n < 2 ? 0 : 63 - std::countl_zero(unsigned_size - 1);
    factor = n < 1 ? 0 : static_cast<uint64_t>((Wide(1) << (64 + shift)) / unsigned_size) + 1;
  }
};

/// First argument of a pointwise kernel. The output is dense; inputs have a stride (in elements, 0 where they are
/// broadcast) for every axis. `Layout` in the text below has the same bytes.
struct CudaPointwiseLayout {
  int64_t count = 0;  ///< elements of the output
  int32_t rank = 1;
  int32_t shifts[7] = {};               ///< with `factors`: division by the sizes, see CudaDivisor
  int64_t sizes[Shape::max_rank] = {};  ///< outermost axis first
  uint64_t factors[Shape::max_rank] = {};
  int64_t strides[max_operands][Shape::max_rank] = {};  ///< a row for each input, in the order of the arguments

  void set_divisor(int axis) {
    CudaDivisor divisor(sizes[axis]);
    shifts[axis - 1] = static_cast<int32_t>(divisor.shift);
    factors[axis] = divisor.factor;
  }
};
static_assert(sizeof(CudaPointwiseLayout) == 8 * (1 + 4 + 8 + 8 + 8 * 8) && Shape::max_rank == 8 && max_operands == 8,
              "the Layout in cuda_pointwise_loop has these sizes");

/// The layout of a plan over a kernel's inputs. Numbers have strides as well, which kernels do not read: they should be
/// the output's, for fits_packs and is_one_line.
inline CudaPointwiseLayout cuda_layout(const LoopPlan& plan) {
  CudaPointwiseLayout layout;
  layout.rank = plan.rank;
  layout.count = 1;
  for (int axis = 0; axis < plan.rank; ++axis) {
    layout.sizes[axis] = plan.sizes[static_cast<size_t>(axis)];
    layout.count *= layout.sizes[axis];
    if (axis > 0 && layout.sizes[axis] > 0) layout.set_divisor(axis);
    for (int k = 0; k < plan.operands; ++k) {
      layout.strides[k][axis] = plan.strides[static_cast<size_t>(k)][static_cast<size_t>(axis)];
    }
  }
  return layout;
}

/// Whether a kernel may move `width` elements at once: no pack of the output spans two rows, and each input's pack
/// is one element repeated or lies side by side and aligned. Beside this, the pointers of the output and of every
/// input with an inner stride of 1 must be aligned to `width` elements.
inline bool fits_packs(const CudaPointwiseLayout& layout, int inputs, int width) {
  auto inner = layout.rank - 1;
  if (layout.sizes[inner] % width != 0) return false;
  for (int k = 0; k < inputs; ++k) {
    if (layout.strides[k][inner] == 0) continue;
    if (layout.strides[k][inner] != 1) return false;
    for (int axis = 0; axis < inner; ++axis) {
      if (layout.strides[k][axis] % width != 0) return false;
    }
  }
  return true;
}

/// Whether a layout that fits packs is one line, along which all inputs lie.
inline bool is_one_line(const CudaPointwiseLayout& layout, int inputs) {
  if (layout.rank != 1) return false;
  for (int k = 0; k < inputs; ++k) {
    if (layout.strides[k][0] != 1) return false;
  }
  return true;
}

/// Follows cuda_prelude. A grid-stride loop over packs of V elements; 1 takes any layout.
inline constexpr std::string_view cuda_pointwise_loop = R"cuda(
namespace gradus {

struct Layout {
  int64 count;
  int rank;
  int shifts[7];
  int64 sizes[8];
  unsigned long long factors[8];
  int64 strides[8][8];
};

// A tensor whose strides are a row of the layout, and where in it a thread is.
template <int row, class T>
struct Input {
  static const int tensors = 1;
  const T* at;
  // Of a tensor that lies as the output does.
  template <int V>
  __device__ __forceinline__ Words<T, V> load_along(int64 index) const {
    return load_pack<V>(at + index);
  }
  __device__ __forceinline__ void advance(const Layout& layout, int axis, int64 steps) {
    at += steps * layout.strides[row][axis];
  }
  template <int V>
  __device__ __forceinline__ auto load(const Layout& layout) const {
    Words<T, V> words;
    if (V > 1 && layout.strides[row][layout.rank - 1] == 1) {
      words = load_pack<V>(at);
    } else {
      T repeated[V];
#pragma unroll
      for (int i = 0; i < V; ++i) repeated[i] = *at;
      memcpy(&words, repeated, sizeof(words));
    }
    return widen_pack(words);
  }
};
template <int row, class T>
GRADUS_DEVICE Input<row, T> input(const T* at) {
  return {at};
}

// A number known at run time.
template <class C>
struct Number {
  static const int tensors = 0;
  C value;
  template <int V>
  __device__ __forceinline__ Pack<C, V> load_along(int64) const {
    Pack<C, V> pack;
#pragma unroll
    for (int i = 0; i < V; ++i) pack.at[i] = value;
    return pack;
  }
  __device__ __forceinline__ void advance(const Layout&, int, int64) {}
  template <int V>
  __device__ __forceinline__ Pack<C, V> load(const Layout&) const {
    return load_along<V>(0);
  }
};
template <class C>
GRADUS_DEVICE Number<C> number(C value) {
  return {value};
}

template <int V, auto formula, class Out, class... C>
GRADUS_DEVICE void compute(Out* out, const Pack<C, V>&... x) {
  Pack<decltype(formula(C()...)), V> y;
#pragma unroll
  for (int i = 0; i < V; ++i) y.at[i] = formula(x.at[i]...);
  store_pack(out, narrow_pack<Out>(y));
}

template <int V, auto formula, class Out, class... In>
GRADUS_DEVICE void compute_at(const Layout& layout, int64 index, Out* out, In... in) {
  out += index;
#pragma unroll 1
  for (int axis = layout.rank - 1; axis > 0; --axis) {
    const int64 outer = __umul64hi(index, layout.factors[axis]) >> layout.shifts[axis - 1];
    (in.advance(layout, axis, index - outer * layout.sizes[axis]), ...);
    index = outer;
  }
  (in.advance(layout, 0, index), ...);
  compute<V, formula>(out, in.template load<V>(layout)...);
}

template <int V, auto formula, class Out, class... In>
GRADUS_DEVICE void pointwise(const Layout& layout, Out* out, In... in) {
  const int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  const int64 first = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
#pragma unroll 1
  for (int64 i = first * V; i < layout.count; i += threads * V) compute_at<V, formula>(layout, i, out, in...);
}
// What a thread reads of tensors that lie as the output does, in one place.
template <int V, class... In>
struct Read {
  __device__ __forceinline__ void from(int64) {}
  template <auto formula, class Out, class... C>
  __device__ __forceinline__ void compute_to(Out* out, const Pack<C, V>&... x) const {
    compute<V, formula>(out, x...);
  }
};
template <int V, class In, class... Others>
struct Read<V, In, Others...> {
  decltype(In().template load_along<V>(0)) first;
  Read<V, Others...> rest;
  __device__ __forceinline__ void from(int64 i, const In& in, const Others&... others) {
    first = in.template load_along<V>(i);
    rest.from(i, others...);
  }
  template <auto formula, class Out, class... C>
  __device__ __forceinline__ void compute_to(Out* out, const Pack<C, V>&... x) const {
    rest.template compute_to<formula>(out, x..., widen_pack(first));
  }
};
// For such tensors alone: a third of the instructions, or fewer, since none are about places; and a thread that reads
// little asks for two packs before it waits.
template <int V, auto formula, class Out, class... In>
GRADUS_DEVICE void pointwise_along(const Layout& layout, Out* out, In... in) {
  const int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  const int64 first = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  in_bunches<(0 + ... + In::tensors) <= 1 ? 2 : 1>(
      first * V, layout.count, threads * V,
      [&](int64 i) {
        Read<V, In...> read;
        read.from(i, in...);
        return read;
      },
      [&](int64 i, const Read<V, In...>& read) { read.template compute_to<formula>(out + i); });
}

}  // namespace gradus
)cuda";

}  // namespace gradus::detail::inline GRADUS_BUILD
