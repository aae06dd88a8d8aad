#include "gradus/ops/pointwise/pow.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("pow", torch.pow, uniform(0.1, 4, 3, 17), uniform(-2, 2, 3, 17))
case("pow", torch.pow, uniform(0.1, 4, 4, 1), uniform(-2, 2, 5))
case("pow", torch.pow, randn(0, 3), randn(3))
case("pow", torch.pow, *special_pairs(), order=0)
case("square", lambda x: x ** 2, randn(3, 17))
case("square", lambda x: x ** 2, special(), order=1)
case("cube root", lambda x: x ** (1 / 3), uniform(0.1, 4, 3, 17))
case("constant", lambda x: x ** 0, randn(3, 17))
case("constant", lambda x: x ** 0, special(), order=1)
case("exponential", lambda x: 2 ** x, uniform(-4, 4, 3, 17))
# derivatives at the edges of the domain: base 0, whole exponents of negative bases
case("edges", torch.pow, torch.tensor([0., 0., 0., -2., -2., -1.5]).double(),
     torch.tensor([2., 1., 0., 2., 3., -1.]).double(), order=1)
*/

using namespace gradus;

TEST_CASE("pow") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return pow(a, b); };
  test::check_operator("pow", call, {.pointwise = true});
  test::check_operator<double>("edges", call, {.pointwise = true});
}

TEST_CASE("pow with a number") {
  test::check_operator<double>("square", []<class T>(const Tensor<T>& x) { return pow(x, 2); }, {.pointwise = true});
  test::check_operator<double>("cube root", []<class T>(const Tensor<T>& x) { return pow(x, 1.0 / 3); },
                               {.pointwise = true});
  test::check_operator<double>("constant", []<class T>(const Tensor<T>& x) { return pow(x, 0); }, {.pointwise = true});
  test::check_operator<double>("exponential", []<class T>(const Tensor<T>& x) { return pow(2.0, x); },
                               {.pointwise = true});
}
