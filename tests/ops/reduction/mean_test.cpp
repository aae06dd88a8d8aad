#include "gradus/ops/reduction/mean.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("mean", torch.mean, randn(3, 4, 5))
case("mean", torch.mean, randn())
case("mean", torch.mean, randn(0, 3), order=1)
case("mean over axes", lambda x: x.mean((1, 2)), randn(3, 4, 5))
case("mean over axes", lambda x: x.mean((1, 2)), randn(3, 0, 5), order=1)
case("mean over axes", lambda x: x.mean((1, 2)), randn(0, 4, 5))
case("mean keeping axes", lambda x: x.mean(0, keepdim=True), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("mean") {
  test::check_operator("mean", []<class T>(const Tensor<T>& x) { return mean(x); },
                       {.large = {randn<double>({300, 700})}});
  test::check_operator("mean over axes",
                       []<class T>(const Tensor<T>& x) {
                         return mean(x, {1, -1});
                       },
                       {.large = {randn<double>({30, 70, 90})}});
  test::check_operator<double, float>("mean keeping axes",
                                      []<class T>(const Tensor<T>& x) { return mean(x, 0, true); });
  test::check_error<IndexError>([] { return mean(zeros<float>({2, 3}), -3); }, "mean: axis -3 of a tensor with 2 axes");
}
