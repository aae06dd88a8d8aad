#include "gradus/ops/pointwise/abs.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("abs", torch.abs, uniform(-4, 4, 3, 17) + 0.001)
case("abs", torch.abs, randn())
case("abs", torch.abs, randn(0, 3))
case("abs", torch.abs, special(), order=1)
case("abs of whole numbers", torch.abs, integers(-100, 100, 5, 9))
case("abs of whole numbers", torch.abs, torch.tensor([0, 1, -1, 2**31 - 1, -2**31 + 1]))
*/

using namespace gradus;

TEST_CASE("abs") {
  auto call = []<class T>(const Tensor<T>& x) { return abs(x); };
  test::check_operator("abs", call, {.pointwise = true});
  test::check_operator<int64_t, int32_t>("abs of whole numbers", call, {.pointwise = true});
}
