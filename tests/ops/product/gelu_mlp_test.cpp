#include "gradus/ops/product/gelu_mlp.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def layers(x, w1, b1, w2, b2):
    return F.linear(F.gelu(F.linear(x, w1, b1), approximate="tanh"), w2, b2)

for x in [(6, 4), (1, 4), (0, 4), (2, 3, 4), (4,)]:
    case("gelu_mlp", layers, randn(*x), randn(8, 4), randn(8), randn(5, 8), randn(5))
*/

using namespace gradus;

TEST_CASE("gelu_mlp") {
  test::check_operator<double, float>(
      "gelu_mlp", []<class T>(const Tensor<T>& x, const Tensor<T>& w1, const Tensor<T>& b1, const Tensor<T>& w2,
                              const Tensor<T>& b2) { return gelu_mlp(x, w1, b1, w2, b2); });
}
TEST_CASE("shapes that gelu_mlp refuses") {
  test::check_error<ShapeError>(
      [] {
        return gelu_mlp<float>(zeros<float>({2, 3}), zeros<float>({8, 4}), {}, zeros<float>({5, 8}), {});
      },
      "linear: input is (2, 3) but weight is (8, 4): the input's last size must be 4");
  test::check_error<ShapeError>(
      [] {
        return gelu_mlp<float>(zeros<float>({2, 4}), zeros<float>({8, 4}), {}, zeros<float>({5, 7}), {});
      },
      "linear: input is (2, 8) but weight is (5, 7): the input's last size must be 7");
}
