// The list that CMake makes of the library's formulas.
#include <set>
#include <string>

#include "tests/ops/formula/formulas.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("the list of formulas has each once, under its own name", "[formula]") {
  std::set<std::string> names;
  gradus::test::for_each_formula(
      [&]<gradus::test::FormulaSignature>(const auto& formula) { CHECK(names.insert(formula.name()).second); });
  CHECK(names.size() >= 37);
  for (const auto* name : {"add", "where", "logical_not", "relu", "gelu_tanh_slope", "bce_with_logits"}) {
    INFO(name);
    CHECK(names.count(name) == 1);
  }
}
