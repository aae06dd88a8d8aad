#include "gradus/ops/pointwise/softplus.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x)), randn(3, 17))
case("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x)), randn(0, 3))
case("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x)), special(), order=0)
*/

using namespace gradus;

TEST_CASE("softplus") {
  test::check_operator("softplus", []<class T>(const Tensor<T>& x) { return softplus(x); },
                       {.pointwise = true, .signed_zeros = false});
}
