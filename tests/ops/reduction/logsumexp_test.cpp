#include "gradus/ops/reduction/logsumexp.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = lambda x: torch.logsumexp(x, -1)
case("logsumexp", f, randn(3, 4, 5))
case("logsumexp", f, randn(0, 3))
case("logsumexp", f, randn(2, 4) + torch.tensor([[1000.], [-1000.]]))
case("logsumexp", f, torch.tensor([[1., inf], [1., -inf], [-inf, -inf], [inf, -inf], [nan, 1.]]).double(), order=0)
case("logsumexp", f, torch.tensor([[1., -inf], [-inf, 2.]]).double(), order=1)
case("logsumexp of all", lambda x: torch.logsumexp(x, (0, 1)), randn(3, 4))
case("logsumexp keeping axes", lambda x: torch.logsumexp(x, (0, 2), keepdim=True), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("logsumexp") {
  test::check_operator<double, float>("logsumexp", []<class T>(const Tensor<T>& x) { return logsumexp(x, -1); },
                                      {.large = {randn<double>({300, 700})}});
  test::check_operator<double>("logsumexp of all", []<class T>(const Tensor<T>& x) { return logsumexp(x); });
  test::check_operator<double>("logsumexp keeping axes", []<class T>(const Tensor<T>& x) {
    return logsumexp(x, {0, 2}, true);
  });
}
