#include "gradus/ops/window/conv1d.hpp"

#include "gradus/nn/conv1d.hpp"
#include "gradus/ops/pointwise/abs.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("conv1d", F.conv1d, randn(2, 3, 7), randn(4, 3, 3), randn(4))
case("conv1d", F.conv1d, randn(1, 1, 1), randn(1, 1, 1), randn(1))
case("conv1d", F.conv1d, randn(0, 2, 5), randn(3, 2, 2), randn(3))
case("conv1d with options", lambda x, w: F.conv1d(x, w, None, 2, 3, 2, 2), randn(2, 4, 9), randn(6, 2, 3))
*/

using namespace gradus;

TEST_CASE("conv1d") {
  manual_seed(1);
  test::check_operator<double, float>(
      "conv1d",
      []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
        return conv1d(x, weight, bias);
      },
      {.float_tolerance = 1e-5,
       .large = {randn<double>({8, 16, 300}), randn<double>({32, 16, 3}), randn<double>({32})}});
  test::check_operator<double>("conv1d with options", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) {
    return conv1d(x, weight, {}, {.stride = 2, .padding = 3, .dilation = 2, .groups = 2});
  });
}

TEST_CASE("a layer of conv1d is the operator with its weights") {
  nn::Conv1d<float> layer(4, 6, {.kernel = 3, .stride = 2, .padding = 1, .dilation = 2, .groups = 2});
  auto x = randn<float>({2, 4, 9});
  auto want =
      conv1d(x, layer.weight.tensor(), layer.bias.tensor(), {.stride = 2, .padding = 1, .dilation = 2, .groups = 2});
  CHECK(layer(x).shape() == Shape{2, 6, 4});
  CHECK(sum(abs(layer(x) - want)).item() == 0);
  test::check_error<ValueError>([] { return nn::Conv1d<float>(3, 4, {.groups = 2}); },
                                "Conv1d: 3 input and 4 output channels do not divide into 2 groups");
}

TEST_CASE("what conv1d refuses") {
  test::check_error<ShapeError>(
      [] {
        return conv1d(zeros<float>({2, 3}), zeros<float>({4, 3, 3}));
      },
      "conv1d: x is (2, 3) and weight (4, 3, 3), but they must be (n, c, steps) and (out, c / "
      "groups, k)");
}
