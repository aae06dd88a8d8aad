// Every pointwise formula of the library, for tests that hold for all of them. CMake finds them in the headers and
// writes generated/formula_list.hpp: the headers, and a line GRADUS_FORMULA(name, operands) for each.
#pragma once

#include <string_view>

#define GRADUS_FORMULA_HEADERS
#include "generated/formula_list.hpp"
#undef GRADUS_FORMULA_HEADERS

namespace gradus::test {

/// The element types that a formula is for: floating ones; whole numbers too; bool.
enum class FormulaDomain { floating, numeric, logical };

struct FormulaSignature {
  int operands = 1;
  FormulaDomain domain = FormulaDomain::floating;
  int conditions = 0;  ///< how many of the operands, the first ones, are bool
};

/// What a formula is for, where that is more or other than floating types.
constexpr FormulaSignature signature_of(std::string_view name, int operands) {
  for (auto numeric : {"add", "subtract", "multiply", "divide", "negate", "abs", "maximum", "minimum", "less",
                       "less_equal", "greater", "greater_equal", "equal", "not_equal"}) {
    if (name == numeric) return {operands, FormulaDomain::numeric};
  }
  if (name == "where") return {operands, FormulaDomain::numeric, 1};
  if (name.starts_with("logical_")) return {operands, FormulaDomain::logical, operands};
  return {operands};
}

/// Calls visit.operator()<FormulaSignature>(formula) for each.
template <class Visit>
void for_each_formula(Visit&& visit) {
#define GRADUS_FORMULA(name, operands) \
  visit.template operator()<signature_of(#name, operands)>(gradus::detail::name##_formula);
#include "generated/formula_list.hpp"
#undef GRADUS_FORMULA
}

}  // namespace gradus::test
