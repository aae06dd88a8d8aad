// Every pointwise formula of the library, for tests that hold for all of them. formula_list_test.cpp names those
// that are missing here.
#pragma once

#include "gradus/ops/loss/bce_with_logits.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/norm/channel_blocks.hpp"
#include "gradus/ops/pointwise.hpp"
#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/silu.hpp"

namespace gradus::test {

/// The element types that a formula is for: floating ones; whole numbers too; bool.
enum class FormulaDomain { floating, numeric, logical };

struct FormulaSignature {
  int operands = 1;
  FormulaDomain domain = FormulaDomain::floating;
  int conditions = 0;  ///< how many of the operands, the first ones, are bool
};

/// Calls visit.operator()<FormulaSignature>(formula) for each.
template <class Visit>
void for_each_formula(Visit&& visit) {
  namespace f = gradus::detail;
  constexpr FormulaSignature unary{}, binary{2}, numeric_unary{1, FormulaDomain::numeric},
      numeric_binary{2, FormulaDomain::numeric};
  visit.template operator()<numeric_binary>(f::add_formula);
  visit.template operator()<numeric_binary>(f::subtract_formula);
  visit.template operator()<numeric_binary>(f::multiply_formula);
  visit.template operator()<numeric_binary>(f::divide_formula);
  visit.template operator()<numeric_unary>(f::negate_formula);
  visit.template operator()<numeric_unary>(f::abs_formula);
  visit.template operator()<numeric_binary>(f::maximum_formula);
  visit.template operator()<numeric_binary>(f::minimum_formula);
  visit.template operator()<numeric_binary>(f::less_formula);
  visit.template operator()<numeric_binary>(f::less_equal_formula);
  visit.template operator()<numeric_binary>(f::greater_formula);
  visit.template operator()<numeric_binary>(f::greater_equal_formula);
  visit.template operator()<numeric_binary>(f::equal_formula);
  visit.template operator()<numeric_binary>(f::not_equal_formula);
  visit.template operator()<FormulaSignature{2, FormulaDomain::logical, 2}>(f::logical_and_formula);
  visit.template operator()<FormulaSignature{2, FormulaDomain::logical, 2}>(f::logical_or_formula);
  visit.template operator()<FormulaSignature{1, FormulaDomain::logical, 1}>(f::logical_not_formula);
  visit.template operator()<FormulaSignature{3, FormulaDomain::numeric, 1}>(f::where_formula);
  visit.template operator()<unary>(f::erf_formula);
  visit.template operator()<unary>(f::exp_formula);
  visit.template operator()<unary>(f::expm1_formula);
  visit.template operator()<unary>(f::floor_formula);
  visit.template operator()<unary>(f::gelu_formula);
  visit.template operator()<unary>(f::gelu_tanh_formula);
  visit.template operator()<unary>(f::log_formula);
  visit.template operator()<unary>(f::log1p_formula);
  visit.template operator()<binary>(f::pow_formula);
  visit.template operator()<unary>(f::relu_formula);
  visit.template operator()<unary>(f::sigmoid_formula);
  visit.template operator()<unary>(f::silu_formula);
  visit.template operator()<FormulaSignature{3}>(f::scale_shift_formula);
  visit.template operator()<binary>(f::squared_error_formula);
  visit.template operator()<FormulaSignature{3}>(f::bce_with_logits_formula);
  visit.template operator()<unary>(f::sqrt_formula);
  visit.template operator()<unary>(f::tanh_formula);
  visit.template operator()<unary>(f::sin_formula);
  visit.template operator()<unary>(f::cos_formula);
}

}  // namespace gradus::test
