// Runs a pointwise kernel over broadcast, strided operands. Kernels are plain functions over dense runs whose
// length is a multiple of the register's lanes; everything about layout is here, once for all of them.
#pragma once

#include <cstring>

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/simd.hpp"
#include "gradus/device/cpu/stream.hpp"
#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/loop.hpp"
#include "gradus/tensor/storage.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

// A PointwiseKernel computes out[i] = formula(in[0][i * steps[0]], ...) for i in [0, n): steps are 1, or 0 for an
// operand that is the same everywhere and comes repeated over one register. n is a multiple of simd_lanes.

/// One input of a pointwise loop: memory, and strides (in elements) for every axis of the output.
struct PointwiseOperand {
  const char* data = nullptr;
  int bytes = 0;  ///< of an element
  Strides strides;
  bool dense = false;   ///< laid out exactly as the output
  bool single = false;  ///< one value for all elements
};

inline PointwiseOperand tensor_operand(const TensorImpl& x, const Shape& shape) {
  PointwiseOperand operand{x.data(), size_of(x.dtype), {}, false, true};
  for (int i = 0; i < x.shape.rank(); ++i) operand.single &= x.shape[i] == 1 || x.strides[i] == 0;
  operand.dense = !operand.single && x.shape == shape && x.is_contiguous();
  if (!operand.dense && !operand.single) operand.strides = broadcast_strides(x.shape, x.strides, shape);
  return operand;
}

/// The loop over [first, last) of a dense output; a thread's share of the work.
class PointwiseRun {
 public:
  PointwiseRun(PointwiseKernel kernel, const TensorImpl& out, char* out_data, const PointwiseOperand* operands,
               int count)
      : kernel_(kernel), out_(out_data), out_bytes_(size_of(out.dtype)), operands_(operands), count_(count) {
    streamed_ = is_streamed(out.numel * out_bytes_);
    for (int k = 0; k < count_; ++k) {
      streamed_ &= operands_[k].data != out_;  // in place, its lines are in the cache already
      if (!operands_[k].single) continue;
      for (int lane = 0; lane < simd_lanes; ++lane) {
        std::memcpy(splat_[k] + lane * operands_[k].bytes, operands_[k].data, static_cast<size_t>(operands_[k].bytes));
      }
    }
  }

  /// Operands that are dense or single only.
  void dense(int64_t first, int64_t last) {
    auto block = streamed_ ? stream_block / out_bytes_ : last - first;
    for (; first < last; first += block) {
      const char* in[max_operands];
      int64_t steps[max_operands];
      for (int k = 0; k < count_; ++k) {
        steps[k] = operands_[k].single ? 0 : 1;
        in[k] = operands_[k].single ? splat_[k] : operands_[k].data + first * operands_[k].bytes;
        // Two blocks ahead: while a block is streamed out, the processor's own fetching stands still. With more
        // operands than one it does not, and asking takes longer than it gains.
        if (streamed_ && count_ == 1 && steps[k] != 0) fetch_ahead(in[k], block * operands_[k].bytes, 2 * stream_block);
      }
      write(first, in, steps, std::min(block, last - first));
    }
    if (streamed_) stream_fence();
  }

  /// Any layout: what is not dense is first gathered into a buffer, block by block.
  void strided(const LoopPlan& plan, int64_t first, int64_t last) {
    constexpr int64_t most = 512;
    alignas(64) char buffers[max_operands][most * 8];
    auto block = streamed_ ? std::min(most, stream_block / out_bytes_) : most;
    for (; first < last; first += block) {
      auto n = std::min(block, last - first);
      const char* in[max_operands];
      int64_t steps[max_operands];
      int64_t filled = 0;
      for (int k = 0; k < count_; ++k) {
        steps[k] = operands_[k].single ? 0 : 1;
        in[k] = operands_[k].single  ? splat_[k]
                : operands_[k].dense ? operands_[k].data + first * operands_[k].bytes
                                     : buffers[k];
      }
      for_each_row(plan, first, first + n, [&](const int64_t* offsets, int64_t run) {
        for (int k = 0; k < count_; ++k) {
          if (operands_[k].single || operands_[k].dense) continue;
          auto bytes = operands_[k].bytes;
          copy_run(bytes, buffers[k] + filled * bytes, 1, operands_[k].data + offsets[k] * bytes, plan.inner_stride(k),
                   run);
        }
        filled += run;
      });
      write(first, in, steps, n);
    }
    if (streamed_) stream_fence();
  }

 private:
  /// Elements [first, first + n) of the output; at most stream_block bytes of what is streamed.
  void write(int64_t first, const char* const* in, const int64_t* steps, int64_t n) {
    auto* out = out_ + first * out_bytes_;
    if (!streamed_) return run(out, in, steps, n);
    alignas(64) char results[stream_block];
    run(results, in, steps, n);
    stream_out(out, results, n * out_bytes_);
  }

  /// Any n: the last few elements go through padded copies, with the same arithmetic as all others.
  void run(char* out, const char* const* in, const int64_t* steps, int64_t n) {
    auto whole = n / simd_lanes * simd_lanes;
    if (whole > 0) kernel_(out, in, steps, whole);
    auto rest = n - whole;
    if (rest == 0) return;
    alignas(64) char padded[max_operands + 1][simd_lanes * 8];
    const char* tail[max_operands];
    for (int k = 0; k < count_; ++k) {
      tail[k] = in[k];
      if (steps[k] == 0) continue;
      auto bytes = operands_[k].bytes;
      for (int lane = 0; lane < simd_lanes; ++lane) {  // lanes beyond the end repeat the last element
        auto from = in[k] + (whole + std::min<int64_t>(lane, rest - 1)) * bytes;
        std::memcpy(padded[k] + lane * bytes, from, static_cast<size_t>(bytes));
      }
      tail[k] = padded[k];
    }
    kernel_(padded[max_operands], tail, steps, simd_lanes);
    std::memcpy(out + whole * out_bytes_, padded[max_operands], static_cast<size_t>(rest * out_bytes_));
  }

  PointwiseKernel kernel_;
  char* out_;
  int out_bytes_;
  const PointwiseOperand* operands_;
  int count_;
  bool streamed_ = false;
  alignas(64) char splat_[max_operands][simd_lanes * 8];
};

/// Fills the dense tensor `out` by `kernel`.
inline void run_pointwise(PointwiseKernel kernel, TensorImpl& out, const PointwiseOperand* operands, int count) {
  constexpr int64_t grain = 16384;
  auto n = out.numel;
  if (n == 0) return;
  auto* data = out.data();
  bool all_dense = true;
  for (int k = 0; k < count; ++k) all_dense &= operands[k].dense || operands[k].single;
  if (all_dense) {
    parallel_for(n, grain, [&](int64_t first, int64_t last) {
      PointwiseRun(kernel, out, data, operands, count).dense(first, last);
    });
    return;
  }
  Strides strides[max_operands];
  for (int k = 0; k < count; ++k) {
    strides[k] = operands[k].dense    ? out.strides
                 : operands[k].single ? Strides::filled(out.shape.rank(), 0)
                                      : operands[k].strides;
  }
  auto plan = plan_loop(out.shape, strides, count);
  parallel_for(n, grain, [&](int64_t first, int64_t last) {
    PointwiseRun(kernel, out, data, operands, count).strided(plan, first, last);
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
