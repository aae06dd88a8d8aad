#include "gradus/ops/pointwise/gelu.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("gelu", F.gelu, uniform(-5, 5, 3, 17))
case("gelu", F.gelu, randn() + 2)
case("gelu", F.gelu, randn(0, 3))
case("gelu", F.gelu, special(), order=1)
case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), uniform(-5, 5, 3, 17))
case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), randn() + 2)
case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), randn(0, 3))
case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), special(), order=1)
*/

using namespace gradus;

TEST_CASE("gelu") {
  test::check_operator("gelu", []<class T>(const Tensor<T>& x) { return gelu(x); }, {.pointwise = true});
}

TEST_CASE("gelu_tanh") {
  test::check_operator("gelu_tanh", []<class T>(const Tensor<T>& x) { return gelu_tanh(x); }, {.pointwise = true});
}
