// Reductions over any axes, on the CPU. Work is cut by the shape alone and partial results are combined in
// index order: the same bits at any thread count.
#pragma once

#include <algorithm>
#include <limits>

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/simd.hpp"
#include "gradus/ops/reduction/reduce_shape.hpp"
#include "gradus/tensor/loop.hpp"
#include "gradus/tensor/tensor.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/reduction/reduce_cuda.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

/// A reducer gives: type C, Simd<C> identity(), Simd<C> combine(Simd<C>, Simd<C>), C combine(C, C).
template <class T>
struct SumReducer {
  using C = Compute<T>;
#if defined(GRADUS_CUDA)
  static constexpr auto on_card = CudaReducer::sum;
#endif
  static C identity() { return C(0); }
  static GRADUS_INLINE Simd<C> combine(const Simd<C>& a, const Simd<C>& b) { return a + b; }
  static C combine_one(C a, C b) { return a + b; }
};
template <class T>
struct MaxReducer {
  using C = Compute<T>;
#if defined(GRADUS_CUDA)
  static constexpr auto on_card = CudaReducer::largest;
#endif
  static C identity() { return static_cast<C>(lowest_value<T>()); }
  static GRADUS_INLINE Simd<C> combine(const Simd<C>& a, const Simd<C>& b) { return maximum(a, b); }
  static C combine_one(C a, C b) { return a > b || a != a ? a : b; }  // NaN wins
};
template <class T>
struct MinReducer {
  using C = Compute<T>;
#if defined(GRADUS_CUDA)
  static constexpr auto on_card = CudaReducer::smallest;
#endif
  static C identity() {
    if constexpr (Floating<T>) return std::numeric_limits<C>::infinity();
    else return static_cast<C>(std::numeric_limits<T>::max());
  }
  static GRADUS_INLINE Simd<C> combine(const Simd<C>& a, const Simd<C>& b) { return minimum(a, b); }
  static C combine_one(C a, C b) { return a < b || a != a ? a : b; }
};

template <class T, class R>
class Reduction {
  using C = typename R::C;

 public:
  Reduction(const TensorImpl& x, const ReduceShape& split, TensorImpl& out)
      : x_(reinterpret_cast<const T*>(x.data())),
        out_(reinterpret_cast<T*>(out.data())),
        kept_(plan_loop(split.kept, &split.kept_strides, 1)),
        reduced_(plan_loop(split.reduced, &split.reduced_strides, 1)),
        outputs_(split.kept.numel()),
        count_(split.reduced.numel()) {}

  void run() {
    if (outputs_ == 0) return;
    auto columns = kept_.inner_stride(0) == 1 && reduced_.inner_stride(0) != 1 && kept_.inner() >= simd_lanes;
    auto tasks = columns ? (outputs_ + column_block - 1) / column_block : outputs_;
    auto total = outputs_ * count_;
    parts_ = std::clamp<int64_t>(total / grain / std::max<int64_t>(tasks / 4, 1), 1,
                                 std::min<int64_t>(32, std::max<int64_t>(count_, 1)));
    Scratch<C> partial(parts_ * outputs_);
    auto outputs_per_task = std::max<int64_t>(1, grain / std::max<int64_t>(count_ / parts_, 1));
    if (columns) outputs_per_task = (outputs_per_task + column_block - 1) / column_block * column_block;
    auto task_columns = (outputs_ + outputs_per_task - 1) / outputs_per_task;
    parallel_chunks(task_columns * parts_, [&](int64_t task) {
      auto part = task / task_columns, first = task % task_columns * outputs_per_task;
      auto last = std::min(outputs_, first + outputs_per_task);
      auto from = count_ * part / parts_, to = count_ * (part + 1) / parts_;
      auto* results = partial.data() + part * outputs_ + first;
      if (columns) reduce_columns(first, last, from, to, results);
      else reduce_rows(first, last, from, to, results);
    });
    parallel_for(outputs_, grain, [&](int64_t first, int64_t last) {
      for (auto i = first; i < last; ++i) {
        auto result = partial[i];
        for (int64_t part = 1; part < parts_; ++part) result = R::combine_one(result, partial[part * outputs_ + i]);
        out_[i] = static_cast<T>(result);
      }
    });
  }

 private:
  static constexpr int64_t grain = 32768;
  static constexpr int64_t column_block = 4 * simd_lanes;

  /// Each output by itself: registers run along the reduced elements.
  void reduce_rows(int64_t first, int64_t last, int64_t from, int64_t to, C* results) const {
    for_each_row(kept_, first, last, [&](const int64_t* offsets, int64_t n) {
      for (int64_t i = 0; i < n; ++i) *results++ = reduce_one(x_ + offsets[0] + i * kept_.inner_stride(0), from, to);
    });
  }

  C reduce_one(const T* x, int64_t from, int64_t to) const {
    Simd<C> sums[4] = {R::identity(), R::identity(), R::identity(), R::identity()};
    auto stride = reduced_.inner_stride(0);
    for_each_row(reduced_, from, to, [&](const int64_t* offsets, int64_t n) {
      auto* row = x + offsets[0];
      int64_t i = 0;
      if (stride == 1) {
        while (i + 4 * simd_lanes <= n) {  // block by block: a long sum keeps its last digits
          Simd<C> block[4] = {R::identity(), R::identity(), R::identity(), R::identity()};
          auto end = std::min(n, i + 64 * 4 * simd_lanes);
          for (; i + 4 * simd_lanes <= end; i += 4 * simd_lanes) {
            for (int k = 0; k < 4; ++k) block[k] = R::combine(block[k], Simd<C>::load(row + i + k * simd_lanes));
          }
          for (int k = 0; k < 4; ++k) sums[k] = R::combine(sums[k], block[k]);
        }
      }
      for (; i < n; i += simd_lanes) {
        alignas(64) C lanes[simd_lanes];
        for (int64_t lane = 0; lane < simd_lanes; ++lane) {
          lanes[lane] = i + lane < n ? static_cast<C>(row[(i + lane) * stride]) : R::identity();
        }
        sums[0] = R::combine(sums[0], Simd<C>::load(lanes));
      }
    });
    alignas(64) C lanes[simd_lanes];
    R::combine(R::combine(sums[0], sums[1]), R::combine(sums[2], sums[3])).store(lanes);
    for (int width = simd_lanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) lanes[lane] = R::combine_one(lanes[lane], lanes[lane + width]);
    }
    return lanes[0];
  }

  /// Neighbouring outputs side by side in registers, running down the reduced elements.
  void reduce_columns(int64_t first, int64_t last, int64_t from, int64_t to, C* results) const {
    for_each_row(kept_, first, last, [&](const int64_t* offsets, int64_t n) {
      for (int64_t i = 0; i < n; i += column_block) {
        auto width = std::min(column_block, n - i);
        auto* x = x_ + offsets[0] + i;
        Simd<C> sums[4] = {R::identity(), R::identity(), R::identity(), R::identity()};
        alignas(64) T padded[column_block] = {};
        for_each_row(reduced_, from, to, [&](const int64_t* reduced_offsets, int64_t rows) {
          for (int64_t r = 0; r < rows; ++r) {
            auto* row = x + reduced_offsets[0] + r * reduced_.inner_stride(0);
            if (width < column_block) {
              std::copy_n(row, width, padded);
              row = padded;
            }
            for (int k = 0; k < 4; ++k) sums[k] = R::combine(sums[k], Simd<C>::load(row + k * simd_lanes));
          }
        });
        alignas(64) C lanes[column_block];
        for (int k = 0; k < 4; ++k) sums[k].store(lanes + k * simd_lanes);
        results = std::copy_n(lanes, width, results);
      }
    });
  }

  const T* x_;
  T* out_;
  LoopPlan kept_, reduced_;
  int64_t outputs_, count_, parts_ = 1;
};

/// Fills the dense `out` with what reducer R makes of x.
template <class R, Element T>
void reduce_elements(std::type_identity<R>, std::type_identity<T>, const TensorImpl& x, const ReduceShape& split,
                     TensorImpl& out) {
  Reduction<T, R>(x, split, out).run();
}

/// The dense result of reducing x over `axes` with reducer R, not recorded.
template <class R, Element T>
Tensor<T> reduce(const char* op, const Tensor<T>& x, const Axes& axes, bool keep_dims) {
  ReduceShape split(op, x.shape(), x.strides(), axes);
  auto out = Tensor<T>::empty(keep_dims ? split.keep_dims : split.kept, x.device(), op);
#if defined(GRADUS_CUDA)
  if (on_card(*x.impl())) {
    reduce_on_card(op, R::on_card, *x.impl(), split, *out.impl(), R::identity());
    return out;
  }
#endif
  reduce_elements(std::type_identity<R>(), std::type_identity<T>(), *x.impl(), split, *out.impl());
  return out;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
