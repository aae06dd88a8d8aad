// Walks several strided operands of one shape together: axes that lie behind each other in memory for all
// operands become one, so that the innermost run is as long as it can be.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>

#include "gradus/core/function_ref.hpp"
#include "gradus/core/shape.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int max_operands = 8;

/// A loop nest: sizes from outermost to innermost, and a stride (in elements) for each operand and axis.
struct LoopPlan {
  int rank = 1;
  int operands = 0;
  std::array<int64_t, Shape::max_rank> sizes{1};
  std::array<std::array<int64_t, Shape::max_rank>, max_operands> strides{};

  int64_t inner() const { return sizes[static_cast<size_t>(rank - 1)]; }
  int64_t inner_stride(int operand) const {
    return strides[static_cast<size_t>(operand)][static_cast<size_t>(rank - 1)];
  }
};

/// Strides of an operand of `shape` when it is broadcast to `target`.
inline Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& target) {
  auto result = Strides::filled(target.rank(), 0);
  for (int i = 1; i <= shape.rank(); ++i) {
    if (shape[shape.rank() - i] != 1) result[target.rank() - i] = strides[shape.rank() - i];
  }
  return result;
}

/// Plans a loop over `shape`; `strides[i]` has one entry an axis of shape.
inline LoopPlan plan_loop(const Shape& shape, const Strides* strides, int operands) {
  LoopPlan plan;
  plan.operands = operands;
  int rank = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    auto joins = rank > 0;
    for (int i = 0; i < operands && joins; ++i) {
      joins = plan.strides[static_cast<size_t>(i)][static_cast<size_t>(rank - 1)] == strides[i][axis] * shape[axis];
    }
    auto slot = static_cast<size_t>(joins ? rank - 1 : rank++);
    plan.sizes[slot] = joins ? plan.sizes[slot] * shape[axis] : shape[axis];
    for (int i = 0; i < operands; ++i) plan.strides[static_cast<size_t>(i)][slot] = strides[i][axis];
  }
  if (rank == 0) {
    plan.sizes[0] = 1;
    for (int i = 0; i < operands; ++i) plan.strides[static_cast<size_t>(i)][0] = 0;
  }
  plan.rank = std::max(rank, 1);
  return plan;
}

/// Calls row(offsets, n) for the runs of the innermost axis that make up elements [first, last) of the plan
/// in row-major order; offsets[i] is where operand i's run begins, in elements.
inline void for_each_row(const LoopPlan& plan, int64_t first, int64_t last,
                         FunctionRef<void(const int64_t*, int64_t)> row) {
  if (first >= last) return;  // sizes may be 0 then
  std::array<int64_t, Shape::max_rank> index{};
  std::array<int64_t, max_operands> offsets{};
  auto rest = first;
  for (int axis = plan.rank - 1; axis >= 0; --axis) {
    auto a = static_cast<size_t>(axis);
    index[a] = rest % plan.sizes[a];
    rest /= plan.sizes[a];
    for (int i = 0; i < plan.operands; ++i) {
      offsets[static_cast<size_t>(i)] += index[a] * plan.strides[static_cast<size_t>(i)][a];
    }
  }
  auto inner = static_cast<size_t>(plan.rank - 1);
  while (first < last) {
    auto run = std::min(plan.sizes[inner] - index[inner], last - first);
    row(static_cast<const int64_t*>(offsets.data()), run);
    first += run;
    index[inner] += run;
    for (int i = 0; i < plan.operands; ++i) {
      offsets[static_cast<size_t>(i)] += run * plan.strides[static_cast<size_t>(i)][inner];
    }
    for (auto a = inner; a > 0 && index[a] == plan.sizes[a]; --a) {  // carry into the next outer axis
      index[a] = 0;
      ++index[a - 1];
      for (int i = 0; i < plan.operands; ++i) {
        const auto& stride = plan.strides[static_cast<size_t>(i)];
        offsets[static_cast<size_t>(i)] += stride[a - 1] - plan.sizes[a] * stride[a];
      }
    }
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD
