#include "gradus/ops/product/linear.hpp"

#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
for x in [(6, 4), (1, 4), (0, 4), (2, 3, 4), (4,), (2, 0, 4)]:
    case("linear", F.linear, randn(*x), randn(5, 4), randn(5))
    case("linear without bias", F.linear, randn(*x), randn(5, 4))
case("linear", F.linear, randn(34, 9), randn(50, 9), randn(50))
*/

using namespace gradus;

TEST_CASE("linear") {
  test::check_operator("linear",
                       []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
                         return linear(x, weight, bias);
                       },
                       {.large = {randn<double>({150, 260}), randn<double>({170, 260}), randn<double>({170})}});
  test::check_operator<double, float>(
      "linear without bias", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) { return linear(x, weight); });
}

TEST_CASE("shapes that linear refuses") {
  test::check_error<ShapeError>(
      [] {
        return linear(zeros<float>({128, 3136}), zeros<float>({10, 128}));
      },
      "linear: input is (128, 3136) but weight is (10, 128): the input's last size must be 128");
  test::check_error<ShapeError>(
      [] {
        return linear(zeros<float>({2, 3}), zeros<float>({3}));
      },
      "linear: weight is (3,), but must be (out, in)");
  test::check_error<ShapeError>(
      [] {
        return linear(zeros<float>({2, 3}), zeros<float>({4, 3}), zeros<float>({3}));
      },
      "linear: bias is (3,) but weight is (4, 3): the bias must be (4,)");
}

TEST_CASE("few rows times a large matrix, in any layout") {
  manual_seed(9);
  for (auto rows : {1, 2, 3}) {
    for (auto in : {300, 263}) {
      auto x = randn<double>({rows, in}), weight = randn<double>({401, in}), bias = randn<double>({401});
      auto want = matmul(cat(std::vector{x, x, x, x}), transpose(weight)) + bias;  // enough rows to be packed
      auto first = slice(want, 0, 0, rows);
      CHECK(test::mismatch(linear(x, weight, bias), first, {1e-13}) == "");
      CHECK(test::mismatch(linear(x, contiguous(transpose(contiguous(transpose(weight)))), bias), first, {1e-13}) ==
            "");
      auto turned = transpose(contiguous(transpose(weight)));  // columns lie side by side
      CHECK(test::mismatch(linear(x, turned, bias), first, {1e-13}) == "");
      auto scattered = transpose(contiguous(transpose(x)));
      CHECK(test::mismatch(linear(scattered, weight, bias), first, {1e-13}) == "");
      CHECK(test::mismatch(linear(cast<float>(x), cast<float>(weight), cast<float>(bias)), cast<float>(first),
                           {1e-4}) == "");
    }
  }
}
