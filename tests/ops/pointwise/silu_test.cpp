#include "gradus/ops/pointwise/silu.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("silu", F.silu, uniform(-6, 6, 3, 17))
case("silu", F.silu, randn() + 2)
case("silu", F.silu, randn(0, 3))
case("silu", F.silu, special(), order=1)
*/

using namespace gradus;

TEST_CASE("silu") {
  test::check_operator("silu", []<class T>(const Tensor<T>& x) { return silu(x); }, {.pointwise = true});
}
