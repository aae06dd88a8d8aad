#include "gradus/ops/pointwise/erf.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("erf", torch.erf, uniform(-4, 4, 3, 17))
case("erf", torch.erf, randn() + 2)
case("erf", torch.erf, randn(0, 3))
case("erf", torch.erf, special(), order=1)
*/

using namespace gradus;

TEST_CASE("erf") {
  test::check_operator("erf", []<class T>(const Tensor<T>& x) { return erf(x); }, {.pointwise = true});
}
