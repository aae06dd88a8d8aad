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

/// The layout of a plan over a kernel's inputs, numbers included (their strides are not read).
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

template <class C, int V>
struct Values {
  C at[V];
};

// A tensor whose strides are a row of the layout, and where in it a thread is.
template <int row, class T>
struct Input {
  const T* at;
  __device__ __forceinline__ void advance(const Layout& layout, int axis, int64 steps) {
    at += steps * layout.strides[row][axis];
  }
  template <int V>
  __device__ __forceinline__ auto load(const Layout& layout) const {
    Values<decltype(widen(T())), V> values;
    if (V > 1 && layout.strides[row][layout.rank - 1] == 1) {
      Pack<T, V> pack = load_pack<V>(at);
#pragma unroll
      for (int i = 0; i < V; ++i) values.at[i] = widen(pack.at[i]);
    } else {
      auto value = widen(*at);
#pragma unroll
      for (int i = 0; i < V; ++i) values.at[i] = value;
    }
    return values;
  }
};
template <int row, class T>
GRADUS_DEVICE Input<row, T> input(const T* at) {
  return {at};
}

// A number known at run time.
template <class C>
struct Number {
  C value;
  __device__ __forceinline__ void advance(const Layout&, int, int64) {}
  template <int V>
  __device__ __forceinline__ Values<C, V> load(const Layout&) const {
    Values<C, V> values;
#pragma unroll
    for (int i = 0; i < V; ++i) values.at[i] = value;
    return values;
  }
};
template <class C>
GRADUS_DEVICE Number<C> number(C value) {
  return {value};
}

template <int V, auto formula, class Out, class... C>
GRADUS_DEVICE void compute(Out* out, const Values<C, V>&... values) {
  Pack<Out, V> pack;
#pragma unroll
  for (int i = 0; i < V; ++i) pack.at[i] = narrow<Out>(formula(values.at[i]...));
  store_pack<V>(out, pack);
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

}  // namespace gradus
)cuda";

}  // namespace gradus::detail::inline GRADUS_BUILD
