#include "gradus/ops/pointwise/sigmoid.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("sigmoid", torch.sigmoid, uniform(-6, 6, 3, 17))
case("sigmoid", torch.sigmoid, randn() + 2)
case("sigmoid", torch.sigmoid, randn(0, 3))
case("sigmoid", torch.sigmoid, special(), order=1)
*/

using namespace gradus;

TEST_CASE("sigmoid") {
  test::check_operator("sigmoid", []<class T>(const Tensor<T>& x) { return sigmoid(x); }, {.pointwise = true});
}
