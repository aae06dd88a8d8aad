#include "gradus/ops/window/global_pool.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
average = lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)
case("average", average, randn(2, 3, 4, 5))
case("average", average, randn(3, 1, 1, 1))
case("average", average, randn(0, 3, 2, 2))
case("average", average, torch.tensor([[[[1., inf]], [[nan, 1.]], [[2., 3.]]]]).double(), order=1)
largest = lambda x: F.adaptive_max_pool2d(x, 1).flatten(1)
case("largest", largest, distinct(2, 3, 4, 5))
case("largest", largest, randn(0, 3, 2, 2))
case("largest", largest, torch.round(randn(4, 3, 5, 2)), order=1)
case("largest", largest, torch.tensor([[[[nan, 1.], [nan, 2.]], [[-inf, -inf], [-inf, -inf]]]]).double(), order=1)
*/

using namespace gradus;

TEST_CASE("global poolings") {
  test::check_operator("average", []<class T>(const Tensor<T>& x) { return global_avg_pool2d(x); },
                       {.bf16_tolerance = 1.0 / 64, .large = {randn<double>({4, 16, 30, 31})}});
  test::check_operator("largest", []<class T>(const Tensor<T>& x) { return global_max_pool2d(x); },
                       {.large = {randn<double>({4, 16, 30, 31})}});
}

TEST_CASE("what global poolings refuse") {
  test::check_error<ShapeError>(
      [] {
        return global_avg_pool2d(zeros<float>({3, 4, 5}));
      },
      "global_avg_pool2d: input is (3, 4, 5), but must be (n, channels, height, width) with at least one pixel");
  test::check_error<ShapeError>(
      [] {
        return global_max_pool2d(zeros<float>({2, 3, 0, 5}));
      },
      "global_max_pool2d: input is (2, 3, 0, 5), but must be (n, channels, height, width) with at least one pixel");
}
