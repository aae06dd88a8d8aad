#include "gradus/ops/pointwise/relu.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("relu", torch.relu, randn(3, 17) + 0.001)
case("relu", torch.relu, randn())
case("relu", torch.relu, randn(0, 3))
case("relu", torch.relu, special(), order=1)
*/

using namespace gradus;

TEST_CASE("relu") {
  // PyTorch's vector loop passes -0 on, which is nobody's intention.
  test::check_operator("relu", []<class T>(const Tensor<T>& x) { return relu(x); },
                       {.pointwise = true, .signed_zeros = false});
}
