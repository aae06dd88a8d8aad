// The loop around every pointwise GPU kernel, as CUDA C++ text, and the host's side of its one layout argument.
#pragma once

#include <cstddef>
#include <string_view>

#include "gradus/tensor/loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Threads of a block at most: the kernels are compiled for no more.
inline constexpr int cuda_pointwise_threads = 256;

/// First argument of a pointwise kernel. The output is dense; inputs have a stride (in elements, 0 where they are
/// broadcast) for every axis. `Layout` in the text below has the same bytes.
struct CudaPointwiseLayout {
  int64_t count = 0;  ///< elements of the output
  int32_t rank = 1;
  int32_t unused = 0;
  int64_t sizes[Shape::max_rank] = {};                  ///< outermost axis first
  int64_t strides[max_operands][Shape::max_rank] = {};  ///< a row for each input, in the order of the arguments
};
static_assert(sizeof(CudaPointwiseLayout) == 8 * (2 + 8 + 8 * 8) && Shape::max_rank == 8 && max_operands == 8,
              "the Layout in cuda_pointwise_loop has these sizes");

/// The layout of a plan over the output and the kernel's inputs, numbers included (their strides are not read).
inline CudaPointwiseLayout cuda_layout(const LoopPlan& plan) {
  CudaPointwiseLayout layout;
  layout.rank = plan.rank;
  layout.count = 1;
  for (int axis = 0; axis < plan.rank; ++axis) {
    layout.sizes[axis] = plan.sizes[static_cast<size_t>(axis)];
    layout.count *= layout.sizes[axis];
    for (int k = 0; k < plan.operands; ++k) {
      layout.strides[k][axis] = plan.strides[static_cast<size_t>(k)][static_cast<size_t>(axis)];
    }
  }
  return layout;
}

/// Whether a kernel may move `width` elements at once: no pack of the output spans two rows, and each input's pack
/// is one element repeated or lies side by side and aligned. Beside this, every pointer that is read side by side
/// (a stride of 1) and the output's must be aligned to `width` elements.
inline bool fits_packs(const CudaPointwiseLayout& layout, int inputs, int width) {
  auto inner = layout.rank - 1;
  if (layout.rank > 1 && layout.sizes[inner] % width != 0) return false;
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
  int unused;
  int64 sizes[8];
  int64 strides[8][8];
};

// Division of 64 bits is slow; nearly all indices have 32.
GRADUS_DEVICE int64 quotient(int64 index, int64 size) {
  return ((index | size) >> 32) == 0 ? static_cast<unsigned>(index) / static_cast<unsigned>(size) : index / size;
}

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
  for (int axis = layout.rank - 1; axis > 0; --axis) {
    const int64 outer = quotient(index, layout.sizes[axis]);
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
  const int64 packs = layout.count / V;
  for (int64 i = first; i < packs; i += threads) compute_at<V, formula>(layout, i * V, out, in...);
  if (V == 1) return;
  for (int64 i = packs * V + first; i < layout.count; i += threads) compute_at<1, formula>(layout, i, out, in...);
}

}  // namespace gradus
)cuda";

}  // namespace gradus::detail::inline GRADUS_BUILD
