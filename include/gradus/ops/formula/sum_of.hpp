// The sum of a formula over all elements, without a tensor of them.
#pragma once

#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/formula/pointwise.hpp"
#include "gradus/ops/view/expand.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What `kernel` gives for elements [from, to) of operands that are dense or single, added up. `splat` holds the values
/// of single ones, each a register full.
template <Floating T>
Compute<T> sum_of_run(PointwiseKernel kernel, const PointwiseOperand* operands, const char (*splat)[simd_lanes * 8],
                      int count, int64_t from, int64_t to) {
  using C = Compute<T>;
  constexpr int64_t block = 1024;
  alignas(64) T results[block];
  alignas(64) char padded[max_operands][simd_lanes * 8];
  Simd<C> total(C(0));
  for (int64_t n = 0; from < to; from += n) {
    n = std::min(block, to - from);
    if (n >= simd_lanes) n = n / simd_lanes * simd_lanes;  // the last few elements go by themselves, padded
    const char* in[max_operands];
    int64_t steps[max_operands];
    for (int k = 0; k < count; ++k) {
      const auto& operand = operands[k];
      steps[k] = operand.single ? 0 : 1;
      in[k] = operand.single ? splat[k] : operand.data + from * operand.bytes;
      if (operand.single || n >= simd_lanes) continue;
      for (int64_t lane = 0; lane < simd_lanes; ++lane) {
        std::memcpy(padded[k] + lane * operand.bytes, in[k] + std::min(lane, n - 1) * operand.bytes,
                    static_cast<size_t>(operand.bytes));
      }
      in[k] = padded[k];
    }
    kernel(reinterpret_cast<char*>(results), in, steps, std::max<int64_t>(n, simd_lanes));
    total = total + fold_row(results, n, C(0), C(0), add_lanes, add_lanes);
  }
  return fold_lanes(total, add_lanes);
}

/// The same of all n elements on the threads, cut by n alone.
template <Floating T>
T sum_of_elements(PointwiseKernel kernel, const PointwiseOperand* operands, int count, int64_t n) {
  using C = Compute<T>;
  alignas(64) char splat[max_operands][simd_lanes * 8];
  for (int k = 0; k < count; ++k) {
    for (int lane = 0; lane < simd_lanes && operands[k].single; ++lane)
      std::memcpy(splat[k] + lane * operands[k].bytes, operands[k].data, static_cast<size_t>(operands[k].bytes));
  }
  auto parts = std::clamp<int64_t>(n / 32768, 1, 32);
  C sums[32];
  parallel_chunks(parts, [&](int64_t part) {
    auto bound = [&](int64_t i) { return i == parts ? n : n * i / parts / simd_lanes * simd_lanes; };
    sums[part] = sum_of_run<T>(kernel, operands, splat, count, bound(part), bound(part + 1));
  });
  for (int64_t part = 1; part < parts; ++part) sums[0] += sums[part];
  return static_cast<T>(sums[0]);
}

/// Passes back what the formula's own node would, from the gradient of the sum.
template <Floating T, size_t N>
struct SumOfNode final : PointwiseNode<T, N> {
  Shape summed;

  SumOfNode(const char* op, const PointwiseTable& what, const GivenOperand* given, const Shape& shape)
      : PointwiseNode<T, N>(op, what, given), summed(shape) {}
  void run_backward(BackwardWalk& walk) override {
    this->gradient = expand(Tensor<T>(this->gradient), summed).impl();
    PointwiseNode<T, N>::run_backward(walk);
  }
};

/// sum(formula(operands...)) over all elements: a scalar.
template <class Formula, Floating T, class... A>
Tensor<T> sum_of(const Formula& formula, const Tensor<T>& first, const A&... rest) {
  constexpr int count = 1 + sizeof...(A);
  const GivenOperand given[] = {given_operand<T>(first), given_operand<T>(rest)...};
  auto [shape, device] = common_shape(formula.name(), given, count);
  PointwiseOperand operands[count];
  auto in_runs = device.is_cpu();
  for (int k = 0; k < count; ++k) {
    operands[k] = given[k].operand(shape);
    in_runs &= operands[k].dense || operands[k].single;
  }
  if (!in_runs) return sum(formula(first, rest...));
  const auto& table = formula.template table<Tensor<T>, A...>();
  auto y = full<T>({}, sum_of_elements<T>(table.forward, operands, count, shape.numel()));
  if (grad_enabled()) {
    for (const auto& operand : given) {
      if (operand.tensor == nullptr || !(*operand.tensor)->node) continue;
      y.impl()->node = NodeRef(new SumOfNode<T, count>(formula.name(), table, given, shape));
      break;
    }
  }
  watch_output(formula.name(), y.impl());
  return y;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
