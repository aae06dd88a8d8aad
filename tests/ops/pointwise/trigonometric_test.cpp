#include "gradus/ops/pointwise/trigonometric.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("sin", torch.sin, uniform(-9, 9, 3, 17))
case("sin", torch.sin, randn() + 2)
case("sin", torch.sin, randn(0, 3))
case("sin", torch.sin, special(), order=1)
case("cos", torch.cos, uniform(-9, 9, 3, 17))
case("cos", torch.cos, randn() + 2)
case("cos", torch.cos, randn(0, 3))
case("cos", torch.cos, special(), order=1)
*/

using namespace gradus;

TEST_CASE("sin") {
  test::check_operator("sin", []<class T>(const Tensor<T>& x) { return sin(x); }, {.pointwise = true});
}

TEST_CASE("cos") {
  test::check_operator("cos", []<class T>(const Tensor<T>& x) { return cos(x); }, {.pointwise = true});
}
