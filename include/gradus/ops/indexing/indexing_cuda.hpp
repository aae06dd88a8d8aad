// Reading and adding by index on a GPU. What meets is added in the order of the index, so results are the same in
// every run.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/indexing/sort_cuda.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/copy_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_indexing_text = R"cuda(
// x (outer, size, inner), index (count) -> y (outer, count, inner).
template <int W>
GRADUS_DEVICE void select_packs(int64 total, int64 size, int64 inner, int64 count, int64 lowest, Fault* fault, int64 op,
                                T* y, const T* x, const int64* index) {
  GRADUS_EACH(pack, total / W) {
    const int64 i = pack * W, row = i / inner, column = i - row * inner, outer = row / count;
    const int64 from = checked_index(index[row - outer * count], size, lowest, fault, op);
    store_pack(y + i, load_pack<W>(x + (outer * size + from) * inner + column));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL index_select(int64 total, int64 size, int64 inner, int64 count, int64 lowest, Fault* fault, int64 op, T* y,
                           const T* x, const int64* index) {
  if (in_packs(inner, x, static_cast<const T*>(y)))
    select_packs<16 / sizeof(T)>(total, size, inner, count, lowest, fault, op, y, x, index);
  else select_packs<1>(total, size, inner, count, lowest, fault, op, y, x, index);
}
// The transpose for few indices: a thread a line. y was cleared.
GRADUS_KERNEL index_add(int64 lines, int64 size, int64 inner, int64 count, Fault* fault, int64 op, T* y, const T* x,
                        const int64* index) {
  GRADUS_EACH(line, lines) {
    const int64 outer = line / inner, column = line - outer * inner;
    for (int64 i = 0; i < count; ++i) {
      T* to = y + (outer * size + checked_index(index[i], size, fault, op)) * inner + column;
      *to = narrow<T>(widen(*to) + widen(x[(outer * count + i) * inner + column]));
    }
  }
}
// The same for many: `order` sorts the places that the index names, so that each run of equal ones is one place of y.
GRADUS_KERNEL places_of_index(int64 count, int64 size, Fault* fault, int64 op, int64* places, const int64* index) {
  GRADUS_EACH(i, count) places[i] = checked_index(index[i], size, fault, op);
}
// Sums of W columns over a run that begins at `at`, in its order. The block looks up 256 of its rows at once: a run may be
// long, as that of a frequent word, and rows that are known can be asked for together.
template <int W>
GRADUS_DEVICE void add_run(int64 at, int64 count, int64 place, int64 inner, T* to, const T* x, const int64* places,
                           const int64* order) {
  __shared__ int64 rows[256 + 8];  // what ends the run is below 0, and so are the last 8
  for (int64 left = 0; left < inner; left += blockDim.x * W) {
    const int64 column = left + threadIdx.x * W;
    Pack<C, W> total;
#pragma unroll
    for (int k = 0; k < W; ++k) total.at[k] = C(0);
    for (int64 base = at;; base += 256) {
      const int64 i = base + threadIdx.x;
      __syncthreads();
      rows[threadIdx.x] = i < count && places[order[i]] == place ? order[i] : -1;
      if (threadIdx.x < 8) rows[256 + threadIdx.x] = -1;
      __syncthreads();
      if (column < inner) {
        for (int r = 0; rows[r] >= 0; r += 8) {
          Words<T, W> read[8];
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            if (rows[r + k] >= 0) read[k] = load_pack<W>(x + rows[r + k] * inner + column);
          }
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            if (rows[r + k] < 0) continue;
            const Pack<C, W> pack = widen_pack(read[k]);
#pragma unroll
            for (int c = 0; c < W; ++c) total.at[c] += pack.at[c];
          }
        }
      }
      if (rows[255] < 0) break;
    }
    if (column < inner) store_pack(to + column, narrow_pack<T>(total));
  }
}
// One block of 256 threads a position in that order: those that begin a run add up all of it.
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_add_runs(int64 count, int64 size, int64 outers, int64 inner, T* y, const T* x, const int64* places,
                       const int64* order) {
  const bool packs = in_packs(inner, x, static_cast<const T*>(y));
  for (int64 task = blockIdx.x; task < count * outers; task += gridDim.x) {
    const int64 at = task % count, outer = task / count, place = places[order[at]];
    if (at > 0 && places[order[at - 1]] == place) continue;
    T* to = y + (outer * size + place) * inner;
    const T* from = x + outer * count * inner;
    if (at + 1 == count || places[order[at + 1]] != place) {  // most runs, where few indices are equal
      for (int64 i = threadIdx.x; i < inner; i += blockDim.x) to[i] = from[order[at] * inner + i];
      continue;
    }
    if (packs) add_run<16 / sizeof(T)>(at, count, place, inner, to, from, places, order);
    else add_run<1>(at, count, place, inner, to, from, places, order);
  }
}
// y[i] = x at i's place, but for the position along one axis, which stands in the index (dense, as y).
GRADUS_KERNEL gather(const __grid_constant__ Layout layout, int64 size, int64 step, Fault* fault, int64 op, T* y,
                     const T* x, const int64* index) {
  GRADUS_EACH(i, layout.count) {
    const int64 place = offsets_at<1>(layout, i).of[0];
    y[i] = x[place + checked_index(index[i], size, fault, op) * step];
  }
}
// A thread for each line of the index along the axis: `outer` walks lines, row 0 in the index and x, row 1 in y.
GRADUS_KERNEL scatter_add(const __grid_constant__ Layout lines, int64 length, int64 index_step, int64 size, int64 step,
                          Fault* fault, int64 op, T* y, const T* x, const int64* index) {
  GRADUS_EACH(line, lines.count) {
    const Offsets<2> at = offsets_at<2>(lines, line);
    int64 from = at.of[0];
    T* to = y + at.of[1];
#pragma unroll 1
    for (int64 k = 0; k < length; ++k, from += index_step) {
      T* target = to + checked_index(index[from], size, fault, op) * step;
      *target = narrow<T>(widen(*target) + widen(x[from]));
    }
  }
}
)cuda";

inline const cuda::detail::KernelText& cuda_indexing() {
  static const std::string text = cuda_with_loop(cuda_indexing_text);
  static const cuda::detail::KernelText family{"indexing", text, true};
  return family;
}

/// x (outer, size, inner), dense -> y (outer, count, inner).
inline void index_select_on_card(const char* op, const TensorImpl& x, const TensorImpl& index, TensorImpl& y,
                                 int64_t size, int64_t inner, int64_t lowest) {
  auto device = y.storage->device();
  auto& context = cuda::detail::Context::of(device);
  cuda::detail::launch_each(op, device, cuda_indexing(), {y.dtype}, "index_select", y.numel, y.numel, size, inner,
                            index.numel, lowest, context.fault(), op, y.data(), x.data(), index.data());
}
/// y (outer, size, inner), which holds zeros, += x (outer, count, inner). The index is dense.
inline void index_add_on_card(const char* op, const TensorImpl& x, const Tensor<int64_t>& index, TensorImpl& y,
                              int64_t size, int64_t inner) {
  auto count = index.numel();
  if (x.numel == 0) return;
  auto device = y.storage->device();
  auto* fault = cuda::detail::Context::of(device).fault();
  auto outers = x.numel / (count * inner), lines = outers * inner;
  if (count <= 64) {
    return cuda::detail::launch_each(op, device, cuda_indexing(), {y.dtype}, "index_add", lines, lines, size, inner,
                                     count, fault, op, y.data(), x.data(), index.data());
  }
  auto places = Tensor<int64_t>::empty({1, count}, device, op);
  cuda::detail::launch_each(op, device, cuda_indexing(), {y.dtype}, "places_of_index", count, count, size, fault, op,
                            places.impl()->data(), index.data());
  auto order = first_places_on_card(op, places, count, false);
  cuda::detail::launch_blocks(op, device, cuda_indexing(), {y.dtype}, "block_add_runs", count * outers, count, size,
                              outers, inner, y.data(), x.data(), places.data(), order.data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
