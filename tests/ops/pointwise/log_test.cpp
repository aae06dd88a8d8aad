#include "gradus/ops/pointwise/log.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("log", torch.log, uniform(0.1, 9, 3, 17))
case("log", torch.log, randn() + 2)
case("log", torch.log, randn(0, 3))
case("log", torch.log, special(), order=1)
case("log1p", torch.log1p, uniform(-0.9, 9, 3, 17))
case("log1p", torch.log1p, randn() + 2)
case("log1p", torch.log1p, randn(0, 3))
case("log1p", torch.log1p, special(), order=1)
*/

using namespace gradus;

TEST_CASE("log") {
  test::check_operator("log", []<class T>(const Tensor<T>& x) { return log(x); }, {.pointwise = true});
}

TEST_CASE("log1p") {
  test::check_operator("log1p", []<class T>(const Tensor<T>& x) { return log1p(x); }, {.pointwise = true});
}
