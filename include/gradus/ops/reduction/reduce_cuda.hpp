// Reductions over any axes on a GPU. Work is cut by the shape alone and partial results are combined in index order;
// within a block, elements that lie side by side are taken in packs, which may round otherwise where memory is not
// aligned.
#pragma once

#include "gradus/ops/reduction/reduce_shape.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/copy_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_reduce_text = R"cuda(
// Part `part` of `parts` of what is reduced, which begins at a multiple of `step`.
struct Range {
  int64 from, to;
};
GRADUS_DEVICE Range range_of(int64 count, int64 part, int64 parts, int64 step = 1) {
  Range range;
  range.from = count * part / parts / step * step;
  range.to = part + 1 == parts ? count : count * (part + 1) / parts / step * step;
  return range;
}

// Every `step`-th element from `first` on of one output's.
template <class Op>
GRADUS_DEVICE C total_of(const Layout& reduced, const T* from, int64 first, int64 last, int64 step, C identity) {
  C total = identity;
  if (reduced.rank == 1) {
    const int64 stride = reduced.strides[0][0];
    for (int64 i = first; i < last; i += step) total = Op::of(total, static_cast<C>(widen(from[i * stride])));
  } else {
    for (int64 i = first; i < last; i += step)
      total = Op::of(total, static_cast<C>(widen(from[offsets_at<1>(reduced, i).of[0]])));
  }
  return total;
}
// What a thread of a block has of `count` elements side by side, of which those that fill packs are read so.
template <class Op>
GRADUS_DEVICE C total_along(const T* from, int64 count, C identity) {
  const int W = 16 / sizeof(T);
  const int64 packed = in_packs(0, from) ? count / W * W : 0;
  C totals[W];
#pragma unroll
  for (int k = 0; k < W; ++k) totals[k] = identity;
  in_bunches<2>(
      threadIdx.x * W, packed, blockDim.x * W, [&](int64 i) { return load_pack<W>(from + i); },
      [&](int64, const Words<T, W>& words) {
        const auto pack = widen_pack(words);
#pragma unroll
        for (int k = 0; k < W; ++k) totals[k] = Op::of(totals[k], static_cast<C>(pack.at[k]));
      });
#pragma unroll
  for (int k = 1; k < W; ++k) totals[0] = Op::of(totals[0], totals[k]);
  for (int64 i = packed + threadIdx.x; i < count; i += blockDim.x)
    totals[0] = Op::of(totals[0], static_cast<C>(widen(from[i])));
  return totals[0];
}
// One block an output and part.
template <class Op, class Out>
GRADUS_DEVICE void by_blocks(const Layout& kept, const Layout& reduced, int64 outputs, int64 parts, C identity, Out* out,
                             const T* x) {
  for (int64 task = blockIdx.x; task < outputs * parts; task += gridDim.x) {
    const Range range = range_of(reduced.count, task / outputs, parts, 16);
    const T* from = x + offsets_at<1>(kept, task % outputs).of[0];
    const bool along = reduced.rank == 1 && reduced.strides[0][0] == 1;
    const C own = along ? total_along<Op>(from + range.from, range.to - range.from, identity)
                        : total_of<Op>(reduced, from, range.from + threadIdx.x, range.to, blockDim.x, identity);
    const C total = block_reduce<Op>(own, identity);
    if (threadIdx.x == 0) out[task] = narrow<Out>(total);
  }
}
// One thread W outputs that lie side by side, and a part.
template <class Op, int W, class Out>
GRADUS_DEVICE void by_packs(int64 count, int64 stride, int64 outputs, int64 parts, C identity, Out* out, const T* x) {
  const int64 columns = outputs / W;
  GRADUS_EACH(task, columns * parts) {
    const int64 part = task / columns, column = (task - part * columns) * W;
    const Range range = range_of(count, part, parts);
    C totals[W];
#pragma unroll
    for (int k = 0; k < W; ++k) totals[k] = identity;
#pragma unroll 4
    for (int64 i = range.from; i < range.to; ++i) {
      const auto pack = widen_pack(load_pack<W>(x + i * stride + column));
#pragma unroll
      for (int k = 0; k < W; ++k) totals[k] = Op::of(totals[k], static_cast<C>(pack.at[k]));
    }
#pragma unroll
    for (int k = 0; k < W; ++k) out[part * outputs + column + k] = narrow<Out>(totals[k]);
  }
}
// One thread an output and part: neighbours read neighbouring memory.
template <class Op, class Out>
GRADUS_DEVICE void by_threads(const Layout& kept, const Layout& reduced, int64 outputs, int64 parts, C identity,
                              Out* out, const T* x) {
  GRADUS_EACH(task, outputs * parts) {
    const Range range = range_of(reduced.count, task / outputs, parts);
    const T* from = x + offsets_at<1>(kept, task % outputs).of[0];
    out[task] = narrow<Out>(total_of<Op>(reduced, from, range.from, range.to, 1, identity));
  }
}

#define GRADUS_REDUCE(Op)                                                                                             \
  if (way == 1) by_blocks<Op>(kept, reduced, outputs, parts, identity, out, x);                                       \
  else if (way == 2)                                                                                                  \
    by_packs<Op, 16 / sizeof(T)>(reduced.count, reduced.strides[0][0], outputs, parts, identity, out, x);             \
  else by_threads<Op>(kept, reduced, outputs, parts, identity, out, x);

// out (parts, outputs): results, or partial ones in the compute type. op: 0 sum, 1 largest, 2 smallest. way: 0 threads, 1
// blocks, 2 packs.
// With more than four blocks a multiprocessor in mind, the compiler spills registers.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 4)
block_reduction(const __grid_constant__ Layout kept, const __grid_constant__ Layout reduced, int64 outputs, int64 parts,
                int op, int way, C identity, U* out, const T* x) {
  if (op == 0) { GRADUS_REDUCE(Sum) }
  else if (op == 1) { GRADUS_REDUCE(Largest) }
  else { GRADUS_REDUCE(Smallest) }
}
// The first of the largest; NaN is largest. One block an output.
GRADUS_KERNEL block_argmax(const __grid_constant__ Layout kept, int64 outputs, int64 count, int64 step, int64* out,
                           const T* x) {
  __shared__ int64 places[256];
  __shared__ C values[256];
  for (int64 output = blockIdx.x; output < outputs; output += gridDim.x) {
    const T* row = x + offsets_at<1>(kept, output).of[0];
    int64 best = threadIdx.x;
    C value = best < count ? widen(row[best * step]) : widen(row[0]);
    for (int64 k = best + blockDim.x; k < count && value == value; k += blockDim.x) {
      const C other = widen(row[k * step]);
      if (!(other <= value)) best = k, value = other;
    }
    places[threadIdx.x] = best < count ? best : -1;
    values[threadIdx.x] = value;
    __syncthreads();
    for (int width = 128; width > 0; width /= 2) {
      if (threadIdx.x < width) {
        const int64 mine = places[threadIdx.x], theirs = places[threadIdx.x + width];
        const C a = values[threadIdx.x], b = values[threadIdx.x + width];
        const bool a_nan = a != a, b_nan = b != b;
        const bool larger = b_nan ? !a_nan || theirs < mine : !a_nan && (b > a || (b == a && theirs < mine));
        if (theirs >= 0 && (mine < 0 || larger)) {
          places[threadIdx.x] = theirs;
          values[threadIdx.x] = b;
        }
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) out[output] = places[0];
    __syncthreads();
  }
}
)cuda";

inline const cuda::detail::KernelText& cuda_reduce() {
  static const std::string text = cuda_with_loop(cuda_reduce_text);
  static const cuda::detail::KernelText family{"reduce", text};
  return family;
}

enum class CudaReducer : int { sum, largest, smallest };
enum class ReduceWay : int { threads, blocks, packs };  ///< what works on an output and part: see block_reduction

/// Fills the dense tensor `out`; identity is in the compute type of x.
template <class C>
void reduce_on_card(const char* op, CudaReducer reducer, const TensorImpl& x, const ReduceShape& split, TensorImpl& out,
                    C identity) {
  auto device = x.storage->device();
  auto kept = plan_loop(split.kept, &split.kept_strides, 1),
       reduced = plan_loop(split.reduced, &split.reduced_strides, 1);
  auto outputs = split.kept.numel(), count = split.reduced.numel();
  if (outputs == 0) return;
  auto& context = cuda::detail::Context::of(device);
  auto beside = kept.inner_stride(0) == 1 && reduced.inner_stride(0) != 1 && kept.inner() >= 32;
  auto width = 16 / int64_t{size_of(x.dtype)};
  auto packs = beside && kept.rank == 1 && reduced.rank == 1 && outputs % width == 0 &&
               reduced.inner_stride(0) % width == 0 && reinterpret_cast<uintptr_t>(x.data()) % 16 == 0;
  auto way = packs ? ReduceWay::packs : !beside && count > 32 ? ReduceWay::blocks : ReduceWay::threads;
  // As many parts as fill a card of 128 multiprocessors, whatever the card: the same bits on each.
  auto tasks = way == ReduceWay::blocks ? outputs : (outputs + 255) / 256;
  auto parts =
      way == ReduceWay::packs
          ? std::clamp<int64_t>((int64_t{1} << 17) / (outputs / width), 1, std::clamp<int64_t>(count / 64, 1, 1024))
          : std::clamp<int64_t>(512 / tasks, 1,
                                std::clamp<int64_t>(count / (way == ReduceWay::blocks ? 2048 : 64), 1, 512));
  auto kept_layout = cuda_layout(kept), reduced_layout = cuda_layout(reduced);
  if (count == 0) reduced_layout.count = 0;
  auto pass = [&](const CudaPointwiseLayout& outer, const CudaPointwiseLayout& inner, int64_t pieces, ReduceWay by,
                  DType from, DType to, char* target, const char* source) {
    auto threads = by == ReduceWay::packs ? outputs / width * pieces : outputs * pieces;
    cuda::detail::Grid grid{by == ReduceWay::blocks ? std::min<int64_t>(outputs * pieces, 1 << 16)
                                                    : context.blocks_for(threads, 256)};
    cuda::detail::launch(op, device, cuda_reduce(), {from, to}, "block_reduction", grid, outer, inner, outputs, pieces,
                         static_cast<int>(reducer), static_cast<int>(by), identity, target, source);
  };
  if (parts == 1) return pass(kept_layout, reduced_layout, 1, way, x.dtype, out.dtype, out.data(), x.data());
  auto partial = allocate_impl(dtype_of<C>, {parts, outputs}, device, op);
  pass(kept_layout, reduced_layout, parts, way, x.dtype, partial->dtype, partial->data(), x.data());
  const Shape one{outputs}, all{parts};
  const Strides one_strides = Strides::filled(1, 1), all_strides = Strides::filled(1, outputs);
  auto last = outputs < 256 || parts >= 64 ? ReduceWay::blocks : ReduceWay::threads;
  pass(cuda_layout(plan_loop(one, &one_strides, 1)), cuda_layout(plan_loop(all, &all_strides, 1)), 1, last,
       partial->dtype, out.dtype, out.data(), partial->data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
