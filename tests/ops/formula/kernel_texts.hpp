// The kernels that all formulas of the library write, for the element types they are for.
#pragma once

#include <vector>

#include "gradus/ops/formula/cuda_text.hpp"
#include "gradus/ops/formula/lane.hpp"
#include "tests/ops/formula/formulas.hpp"

namespace gradus::test {

inline std::vector<DType> element_types(FormulaDomain domain) {
  if (domain == FormulaDomain::logical) return {DType::boolean};
  std::vector<DType> types{DType::f32, DType::f64, DType::bf16};
  if (domain == FormulaDomain::numeric) types.insert(types.end(), {DType::i64, DType::i32, DType::u8});
  return types;
}

inline bool is_floating(DType type) { return type == DType::f32 || type == DType::f64 || type == DType::bf16; }

template <FormulaSignature s>
auto cuda_operands(DType type) {
  std::array<detail::CudaOperand, static_cast<size_t>(s.operands)> operands;
  for (size_t k = 0; k < operands.size(); ++k) {
    operands[k] = {k < static_cast<size_t>(s.conditions) ? DType::boolean : type};
  }
  return operands;
}

template <FormulaSignature s, class F>
detail::CudaKernelText value_text(const detail::Pointwise<F>& formula, DType type) {
  return detail::cuda_kernel_text<F>(formula.name(), type, cuda_operands<s>(type));
}
template <size_t I, FormulaSignature s, class F>
detail::CudaKernelText gradient_text(const detail::Pointwise<F>& formula, DType type) {
  return detail::cuda_gradient_text<F, I>(formula.name(), type, cuda_operands<s>(type));
}

/// Whether a formula compares: such a one has no gradient.
template <FormulaSignature s, class F, size_t... K>
constexpr bool gives_bool(std::index_sequence<K...>) {
  using detail::LaneMask, detail::Lane;
  constexpr auto conditions = static_cast<size_t>(s.conditions);
  using Y = decltype(F{}(std::declval<std::conditional_t<(K < conditions), LaneMask<float>, Lane<float>>>()...));
  return std::is_same_v<Y, LaneMask<float>>;
}
template <FormulaSignature s, class F>
constexpr bool gives_bool() {
  return gives_bool<s, F>(std::make_index_sequence<static_cast<size_t>(s.operands)>{});
}

/// Calls each(std::integral_constant<size_t, I>) for the operands that are not bool.
template <FormulaSignature s, class Each>
void for_each_number(Each&& each) {
  auto call = [&]<size_t... I>(std::index_sequence<I...>) {
    (each(std::integral_constant<size_t, I + static_cast<size_t>(s.conditions)>{}), ...);
  };
  call(std::make_index_sequence<static_cast<size_t>(s.operands - s.conditions)>{});
}

/// Calls each(type, text) for all kernels of all formulas.
template <class Each>
void for_each_text(Each&& each) {
  for_each_formula([&]<FormulaSignature s>(const auto& formula) {
    for (auto type : element_types(s.domain)) {
      auto value = value_text<s>(formula, type);
      each(type, value);
      if (value.out == DType::boolean || !is_floating(type)) continue;
      for_each_number<s>(
          [&]<size_t I>(std::integral_constant<size_t, I>) { each(type, gradient_text<I, s>(formula, type)); });
    }
  });
}

}  // namespace gradus::test
