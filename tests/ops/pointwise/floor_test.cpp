#include "gradus/ops/pointwise/floor.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("floor", torch.floor, uniform(-5, 5, 3, 17) + 0.001)
case("floor", torch.floor, randn() + 2)
case("floor", torch.floor, randn(0, 3))
case("floor", torch.floor, special(), order=1)
*/

using namespace gradus;

TEST_CASE("floor") {
  test::check_operator("floor", []<class T>(const Tensor<T>& x) { return floor(x); }, {.pointwise = true});
}
