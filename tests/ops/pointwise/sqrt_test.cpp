#include "gradus/ops/pointwise/sqrt.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("sqrt", torch.sqrt, uniform(0.1, 9, 3, 17))
case("sqrt", torch.sqrt, randn() + 2)
case("sqrt", torch.sqrt, randn(0, 3))
case("sqrt", torch.sqrt, special(), order=1)
*/

using namespace gradus;

TEST_CASE("sqrt") {
  test::check_operator("sqrt", []<class T>(const Tensor<T>& x) { return sqrt(x); }, {.pointwise = true});
}
