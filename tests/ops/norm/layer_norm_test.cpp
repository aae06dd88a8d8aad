#include "gradus/ops/norm/layer_norm.hpp"

#include "gradus/ops/view/cast.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def norm(*shape, eps=1e-5):
    return lambda x, weight=None, bias=None: F.layer_norm(x, shape, weight, bias, eps)
case("layer_norm", norm(5), randn(3, 5), randn(5), randn(5))
case("layer_norm", norm(37), randn(2, 3, 37), randn(37), randn(37))
case("layer_norm", norm(32), randn(32), randn(32), randn(32))
case("layer_norm", norm(1), randn(3, 1), randn(1), randn(1))
case("layer_norm", norm(4), randn(0, 4), randn(4), randn(4))
x = torch.tensor([[1., inf, 2., 3.], [1, 2, 3, 4], [nan, 1, 2, 3]]).double()
case("layer_norm", norm(4), x, randn(4), randn(4), order=1)
case("far from zero", norm(4), randn(3, 4) * 0.25 + 100, randn(4), randn(4))
case("over two axes", norm(4, 5), randn(3, 4, 5), randn(4, 5), randn(4, 5))
case("over two axes", norm(4, 5), randn(4, 5), randn(4, 5), randn(4, 5))
case("without parameters", norm(19), randn(2, 3, 19))
case("without bias", norm(5), randn(4, 5), randn(5))
case("without weight", lambda x, b: norm(5)(x, None, b), randn(4, 5), randn(5), order=1)  # PyTorch 2.15 fails at 2
case("eps", norm(6, eps=0.5), randn(4, 6), randn(6), randn(6))
*/

using namespace gradus;

namespace {

/// Over as many axes as the weight has.
auto layer_normed(double eps = 1e-5) {
  return [eps]<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return layer_norm(x, weight.shape(), weight, bias, eps);
  };
}

}  // namespace

TEST_CASE("layer_norm") {
  manual_seed(1);
  test::check_operator("layer_norm", layer_normed(),
                       {.double_tolerance = 1e-11,
                        .float_tolerance = 1e-5,
                        .bf16_tolerance = 0.05,
                        .large = {randn<double>({300, 701}), randn<double>({701}), randn<double>({701})}},
                       __FILE__);
  test::check_operator<double, float>("far from zero", layer_normed(),
                                      {.double_tolerance = 1e-10, .float_tolerance = 1e-4}, __FILE__);
  test::check_operator<double, float>("over two axes", layer_normed(), {.float_tolerance = 1e-5}, __FILE__);
  test::check_operator<double>("eps", layer_normed(0.5), {}, __FILE__);
}

TEST_CASE("layer_norm without weight or bias") {
  test::check_operator<double, float>("without parameters",
                                      []<class T>(const Tensor<T>& x) { return layer_norm(x, {19}); },
                                      {.float_tolerance = 1e-5, .large = {randn<double>({3000, 19})}});
  test::check_operator<double>(
      "without bias", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) { return layer_norm(x, {5}, weight); });
  test::check_operator<double>("without weight", []<class T>(const Tensor<T>& x, const Tensor<T>& bias) {
    return layer_norm(x, {5}, {}, bias);
  });
}

TEST_CASE("layer_norm of bf16 computes in float") {
  auto x = cast<bf16>(randn<float>({4, 1000}) + 100.0);  // (4, 1000)
  auto want = cast<bf16>(layer_norm(cast<float>(x), {1000}));
  CHECK(test::bit_mismatch(layer_norm(x, {1000}), want) == "");
}

TEST_CASE("what layer_norm refuses") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>([&] { return layer_norm(x, {2}); },
                                "layer_norm: input is (2, 3) and the normalized shape (2,): it must be the sizes of "
                                "the input's last axes, one or more");
  test::check_error<ShapeError>(
      [&] {
        return layer_norm(x, {1, 2, 3});
      },
      "layer_norm: input is (2, 3) and the normalized shape (1, 2, 3): it must be the sizes "
      "of the input's last axes, one or more");
  test::check_error<ShapeError>([&] { return layer_norm(x, Shape()); },
                                "layer_norm: input is (2, 3) and the normalized shape (): it must be the sizes of the "
                                "input's last axes, one or more");
  test::check_error<ShapeError>([&] { return layer_norm(x, {3}, ones<float>({2})); },
                                "layer_norm: weight is (2,), but must have the normalized shape (3,)");
  test::check_error<ShapeError>(
      [&] {
        return layer_norm(x, {3}, ones<float>({3}), zeros<float>({1, 3}));
      },
      "layer_norm: bias is (1, 3), but must have the normalized shape (3,)");
}
