#include "gradus/ops/pointwise/tanh.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("tanh", torch.tanh, uniform(-4, 4, 3, 17))
case("tanh", torch.tanh, randn() + 2)
case("tanh", torch.tanh, randn(0, 3))
case("tanh", torch.tanh, special(), order=1)
*/

using namespace gradus;

TEST_CASE("tanh") {
  test::check_operator("tanh", []<class T>(const Tensor<T>& x) { return tanh(x); }, {.pointwise = true});
}
