#include "gradus/ops/pointwise/exp.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("exp", torch.exp, uniform(-5, 3, 3, 17))
case("exp", torch.exp, randn() + 2)
case("exp", torch.exp, randn(0, 3))
case("exp", torch.exp, special(), order=1)
case("expm1", torch.expm1, uniform(-5, 3, 3, 17))
case("expm1", torch.expm1, randn() + 2)
case("expm1", torch.expm1, randn(0, 3))
case("expm1", torch.expm1, special(), order=1)
*/

using namespace gradus;

TEST_CASE("exp") {
  test::check_operator("exp", []<class T>(const Tensor<T>& x) { return exp(x); }, {.pointwise = true});
}

TEST_CASE("expm1") {
  test::check_operator("expm1", []<class T>(const Tensor<T>& x) { return expm1(x); }, {.pointwise = true});
}
