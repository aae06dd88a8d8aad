#include "gradus/ops/loss/softmax.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = lambda x: torch.softmax(x, -1)
case("softmax", f, randn(3, 4, 5))
case("softmax", f, randn(2, 37))
case("softmax", f, randn(1))
case("softmax", f, randn(0, 3))
case("softmax", f, randn(3, 0), order=1)
case("softmax", f, randn(2, 4) + torch.tensor([[1000.], [-1000.]]))
case("softmax", f, torch.tensor([[1., -inf, 2.], [-inf, -inf, 0.]]).double(), order=1)
case("softmax", f, torch.tensor([[1., inf, 2.], [-inf, -inf, -inf], [nan, 1., 2.]]).double(), order=0)
case("softmax over the first axis", lambda x: torch.softmax(x, 0), randn(3, 4, 5))
case("softmax over a middle axis", lambda x: torch.softmax(x, 1), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("softmax") {
  test::check_operator("softmax", []<class T>(const Tensor<T>& x) { return softmax(x); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({3000, 70})}});
  test::check_operator<double>("softmax over the first axis",
                               []<class T>(const Tensor<T>& x) { return softmax(x, 0); });
  test::check_operator<double>("softmax over a middle axis",
                               []<class T>(const Tensor<T>& x) { return softmax(x, -2); });
}

TEST_CASE("axes that softmax refuses") {
  test::check_error<ShapeError>([] { return softmax(tensor<float>(1)); }, "softmax: a scalar has no axis");
  test::check_error<IndexError>([] { return softmax(zeros<float>({2}), 1); },
                                "softmax: axis 1 of a tensor with 1 axes");
}
