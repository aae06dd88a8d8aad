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

/// How a reduction is cut into tasks, by its shape alone: outputs, and of each output's elements at most 32 parts.
class ReducePlan {
 public:
  explicit ReducePlan(const ReduceShape& split)
      : kept(plan_loop(split.kept, &split.kept_strides, 1)),
        reduced(plan_loop(split.reduced, &split.reduced_strides, 1)),
        outputs(split.kept.numel()),
        count(split.reduced.numel()),
        columns(kept.inner_stride(0) == 1 && reduced.inner_stride(0) != 1 && kept.inner() >= simd_lanes) {
    auto tasks = columns ? (outputs + column_block - 1) / column_block : outputs;
    parts = std::clamp<int64_t>(outputs * count / grain / std::max<int64_t>(tasks / 4, 1), 1,
                                std::min<int64_t>(32, std::max<int64_t>(count, 1)));
    outputs_per_task_ = std::max<int64_t>(1, grain / std::max<int64_t>(count / parts, 1));
    if (!columns) return;
    // Long runs of neighbours, as memory likes to be read.
    if (parts >= 8) outputs_per_task_ = std::max<int64_t>(outputs_per_task_, 1024);
    outputs_per_task_ = (outputs_per_task_ + column_block - 1) / column_block * column_block;
  }

  LoopPlan kept, reduced;
  int64_t outputs, count, parts = 1;
  bool columns;  ///< neighbouring outputs stand side by side in registers, which run down the reduced elements

  /// body(part, first, last, from, to): elements [from, to) of outputs [first, last).
  template <class Body>
  void for_tasks(Body&& body) const {
    auto across = (outputs + outputs_per_task_ - 1) / outputs_per_task_;
    parallel_chunks(across * parts, [&](int64_t task) {
      auto part = task / across, first = task % across * outputs_per_task_;
      body(part, first, std::min(outputs, first + outputs_per_task_), count * part / parts, count * (part + 1) / parts);
    });
  }
  /// result(i) for each output, from those of its parts, which lie `outputs` apart.
  template <class C, class Merge, class Result>
  void merge_parts(const C* partial, Merge merge, Result result) const {
    parallel_for(outputs, grain, [&](int64_t first, int64_t last) {
      for (auto i = first; i < last; ++i) {
        auto value = partial[i];
        for (int64_t part = 1; part < parts; ++part) value = merge(value, partial[part * outputs + i]);
        result(i, value);
      }
    });
  }

 private:
  static constexpr int64_t grain = 32768;
  static constexpr int64_t column_block = 4 * simd_lanes;

  int64_t outputs_per_task_ = 1;
};

template <class T, class R>
class Reduction {
  using C = typename R::C;

 public:
  Reduction(const TensorImpl& x, const ReduceShape& split, TensorImpl& out)
      : x_(reinterpret_cast<const T*>(x.data())), out_(reinterpret_cast<T*>(out.data())), plan_(split) {}

  void run() {
    if (plan_.outputs == 0) return;
    Scratch<C> partial(plan_.parts * plan_.outputs);
    plan_.for_tasks([&](int64_t part, int64_t first, int64_t last, int64_t from, int64_t to) {
      auto* results = partial.data() + part * plan_.outputs + first;
      if (plan_.columns) reduce_columns(first, last, from, to, results);
      else reduce_rows(first, last, from, to, results);
    });
    plan_.merge_parts(
        partial.data(), [](C a, C b) { return R::combine_one(a, b); },
        [&](int64_t i, C result) { out_[i] = static_cast<T>(result); });
  }

 private:
  /// Each output by itself: registers run along the reduced elements.
  void reduce_rows(int64_t first, int64_t last, int64_t from, int64_t to, C* results) const {
    for_each_row(plan_.kept, first, last, [&](const int64_t* offsets, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        *results++ = reduce_one(x_ + offsets[0] + i * plan_.kept.inner_stride(0), from, to);
    });
  }

  C reduce_one(const T* x, int64_t from, int64_t to) const {
    Simd<C> sums[4] = {R::identity(), R::identity(), R::identity(), R::identity()};
    auto stride = plan_.reduced.inner_stride(0);
    for_each_row(plan_.reduced, from, to, [&](const int64_t* offsets, int64_t n) {
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
    for_each_row(plan_.kept, first, last, [&](const int64_t* offsets, int64_t n) {
      std::fill_n(results, n, R::identity());
      auto* x = x_ + offsets[0];
      for_each_row(plan_.reduced, from, to, [&](const int64_t* reduced_offsets, int64_t rows) {
        auto stride = plan_.reduced.inner_stride(0);
        auto* row = x + reduced_offsets[0];
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) add_rows<4>(row + r * stride, stride, n, results);
        for (; r < rows; ++r) add_rows<1>(row + r * stride, stride, n, results);
      });
      results += n;
    });
  }

  /// Takes so many rows of n elements into n results, one row after the other.
  template <int count>
  static void add_rows(const T* row, int64_t stride, int64_t n, C* results) {
    int64_t i = 0;
    for (; i + simd_lanes <= n; i += simd_lanes) {
      auto sum = Simd<C>::load(results + i);
      GRADUS_UNROLL
      for (int k = 0; k < count; ++k) sum = R::combine(sum, Simd<C>::load(row + k * stride + i));
      sum.store(results + i);
    }
    for (; i < n; ++i) {
      for (int k = 0; k < count; ++k) results[i] = R::combine_one(results[i], static_cast<C>(row[k * stride + i]));
    }
  }

  const T* x_;
  T* out_;
  ReducePlan plan_;
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
