#include "gradus/ops/pointwise/relu6.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("relu6", F.relu6, distinct(3, 70) + 1.0 / 32)
case("relu6", F.relu6, special(), order=1)
case("relu6", F.relu6, values([6.0, 5.999, 6.001, 0.0, -0.0]), order=1)
*/

using namespace gradus;

TEST_CASE("relu6") {
  test::check_operator("relu6", []<class T>(const Tensor<T>& x) { return relu6(x); },
                       {.pointwise = true, .signed_zeros = false});
}
