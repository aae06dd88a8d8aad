// Reading and adding by index on a GPU. What meets is added in the order of the index, so results are the same in
// every run.
#pragma once

#include <bit>

#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/copy_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_indexing_text = R"cuda(
// x (outer, size, inner), index (count) -> y (outer, count, inner).
GRADUS_KERNEL index_select(int64 total, int64 size, int64 inner, int64 count, int64 lowest, Fault* fault, int64 op, T* y,
                           const T* x, const int64* index) {
  GRADUS_EACH(i, total) {
    const int64 row = i / inner, column = i - row * inner, outer = row / count;
    const int64 from = checked_index(index[row - outer * count], size, lowest, fault, op);
    y[i] = x[(outer * size + from) * inner + column];
  }
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
// The same for many: keys are (index, position), sorted, so that each run of equal indices is one place of y.
GRADUS_KERNEL make_keys(int64 padded, int64 count, int64 size, Fault* fault, int64 op, int64* keys,
                        const int64* index) {
  GRADUS_EACH(i, padded) {
    keys[i] = i < count ? checked_index(index[i], size, fault, op) << 32 | i : 0x7fffffffffffffffll;
  }
}
GRADUS_DEVICE void order(int64& a, int64& b, bool up) {
  if ((a > b) == up) {
    const int64 c = a;
    a = b;
    b = c;
  }
}
// Bitonic sort (Batcher, 1968): the steps of 512 and fewer apart, within shared memory.
GRADUS_KERNEL block_sort(int64 first_width, int64 last_width, int64* keys) {
  __shared__ int64 own[1024];
  const int64 base = static_cast<int64>(blockIdx.x) * 1024;
  for (int i = threadIdx.x; i < 1024; i += 256) own[i] = keys[base + i];
  __syncthreads();
  for (int64 width = first_width; width <= last_width; width *= 2) {
    for (int64 apart = width / 2 < 512 ? width / 2 : 512; apart > 0; apart /= 2) {
      for (int t = threadIdx.x; t < 512; t += 256) {
        const int64 i = 2 * apart * (t / apart) + t % apart;
        order(own[i], own[i + apart], ((base + i) & width) == 0);
      }
      __syncthreads();
    }
  }
  for (int i = threadIdx.x; i < 1024; i += 256) keys[base + i] = own[i];
}
GRADUS_KERNEL sort_step(int64 half, int64 width, int64 apart, int64* keys) {
  GRADUS_EACH(t, half) {
    const int64 i = 2 * apart * (t / apart) + t % apart;
    order(keys[i], keys[i + apart], (i & width) == 0);
  }
}
// One block a position of the sorted keys: those that begin a run add up all of it.
GRADUS_KERNEL add_runs(int64 count, int64 size, int64 outers, int64 inner, T* y, const T* x, const int64* keys) {
  for (int64 task = blockIdx.x; task < count * outers; task += gridDim.x) {
    const int64 at = task % count, outer = task / count, place = keys[at] >> 32;
    if (at > 0 && keys[at - 1] >> 32 == place) continue;
    for (int64 column = threadIdx.x; column < inner; column += blockDim.x) {
      C total = 0;
      for (int64 k = at; k < count && keys[k] >> 32 == place; ++k)
        total += widen(x[(outer * count + (keys[k] & 0xffffffff)) * inner + column]);
      y[(outer * size + place) * inner + column] = narrow<T>(total);
    }
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
/// y (outer, size, inner), which holds zeros, += x (outer, count, inner).
inline void index_add_on_card(const char* op, const TensorImpl& x, const TensorImpl& index, TensorImpl& y, int64_t size,
                              int64_t inner) {
  auto count = index.numel;
  if (x.numel == 0) return;
  auto device = y.storage->device();
  auto& context = cuda::detail::Context::of(device);
  auto outers = x.numel / (count * inner), lines = outers * inner;
  if (count <= 64 || size >= int64_t{1} << 31) {
    return cuda::detail::launch_each(op, device, cuda_indexing(), {y.dtype}, "index_add", lines, lines, size, inner,
                                     count, context.fault(), op, y.data(), x.data(), index.data());
  }
  auto padded = std::max<int64_t>(1024, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(count))));
  auto keys = allocate_impl(DType::i64, {padded}, device);
  auto run = [&](const char* entry, int64_t blocks, const auto&... arguments) {
    cuda::detail::launch(op, device, cuda_indexing(), {y.dtype}, entry, {blocks}, arguments...);
  };
  run("make_keys", context.blocks_for(padded, 256), padded, count, size, context.fault(), op, keys->data(),
      index.data());
  run("block_sort", padded / 1024, int64_t{2}, int64_t{1024}, keys->data());
  for (int64_t width = 2048; width <= padded; width *= 2) {
    for (auto apart = width / 2; apart >= 1024; apart /= 2)
      run("sort_step", context.blocks_for(padded / 2, 256), padded / 2, width, apart, keys->data());
    run("block_sort", padded / 1024, width, width, keys->data());
  }
  run("add_runs", std::min<int64_t>(count * outers, 1 << 16), count, size, outers, inner, y.data(), x.data(),
      keys->data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
