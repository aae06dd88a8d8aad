#include "gradus/ops/loss/log_softmax.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = lambda x: torch.log_softmax(x, -1)
case("log_softmax", f, randn(3, 4, 5))
case("log_softmax", f, randn(2, 37))
case("log_softmax", f, randn(1))
case("log_softmax", f, randn(0, 3))
case("log_softmax", f, randn(3, 0), order=1)
case("log_softmax", f, randn(2, 4) + torch.tensor([[1000.], [-1000.]]))
case("log_softmax", f, torch.tensor([[1., -inf, 2.], [-inf, -inf, 0.]]).double(), order=1)
case("log_softmax", f, torch.tensor([[1., inf, 2.], [-inf, -inf, -inf], [nan, 1., 2.]]).double(), order=0)
case("log_softmax over the first axis", lambda x: torch.log_softmax(x, 0), randn(3, 4, 5))
case("log_softmax over a middle axis", lambda x: torch.log_softmax(x, 1), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("log_softmax") {
  test::check_operator("log_softmax", []<class T>(const Tensor<T>& x) { return log_softmax(x); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({3000, 70})}});
  test::check_operator<double>("log_softmax over the first axis",
                               []<class T>(const Tensor<T>& x) { return log_softmax(x, 0); });
  test::check_operator<double>("log_softmax over a middle axis",
                               []<class T>(const Tensor<T>& x) { return log_softmax(x, -2); });
}

TEST_CASE("axes that log_softmax refuses") {
  test::check_error<ShapeError>([] { return log_softmax(tensor<float>(1)); }, "log_softmax: a scalar has no axis");
  test::check_error<IndexError>([] { return log_softmax(zeros<float>({2}), 1); },
                                "log_softmax: axis 1 of a tensor with 1 axes");
}
