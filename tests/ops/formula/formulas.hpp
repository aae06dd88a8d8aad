// Every pointwise formula of the library, for tests that hold for all of them. formula_list_test.cpp finds those
// that are missing here.
#pragma once

#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/pointwise.hpp"
#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/silu.hpp"

namespace formulas {

/// The element types that a formula is for: floating ones; whole numbers too; bool.
enum class Domain { floating, numeric, logical };

struct Signature {
  int operands = 1;
  Domain domain = Domain::floating;
  int conditions = 0;  ///< how many of the operands, the first ones, are bool
};

/// Calls visit.operator()<Signature>(formula) for each.
template <class Visit>
void for_each(Visit&& visit) {
  namespace f = gradus::detail;
  constexpr Signature unary{}, binary{2}, numeric_unary{1, Domain::numeric}, numeric_binary{2, Domain::numeric};
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
  visit.template operator()<Signature{2, Domain::logical, 2}>(f::logical_and_formula);
  visit.template operator()<Signature{2, Domain::logical, 2}>(f::logical_or_formula);
  visit.template operator()<Signature{1, Domain::logical, 1}>(f::logical_not_formula);
  visit.template operator()<Signature{3, Domain::numeric, 1}>(f::where_formula);
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
  visit.template operator()<binary>(f::squared_error_formula);
  visit.template operator()<unary>(f::sqrt_formula);
  visit.template operator()<unary>(f::tanh_formula);
  visit.template operator()<unary>(f::sin_formula);
  visit.template operator()<unary>(f::cos_formula);
}

}  // namespace formulas
