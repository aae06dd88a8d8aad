#include "gradus/ops/loss/quantile_loss.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def pinball(p, t, q):
    above = t[..., None] - p
    return torch.maximum(q * above, (q - 1) * above).mean()
case("quantile_loss", pinball, randn(4, 3), randn(4), values([0.1, 0.5, 0.75]))
case("quantile_loss", pinball, randn(2, 5, 1), randn(2, 5), values([0.25]))
*/

using namespace gradus;

TEST_CASE("quantile_loss") {
  test::check_operator<double, float>(
      "quantile_loss",
      []<class T>(const Tensor<T>& p, const Tensor<T>& t, const Tensor<T>& q) { return quantile_loss(p, t, q); });
}

TEST_CASE("quantile_loss is least at the quantile") {
  auto x = linspace<double>(0.0, 10.0, 1001);
  auto q = tensor<double>({0.2});
  auto loss = [&](double at) { return quantile_loss(full<double>({1001, 1}, at), x, q).item(); };
  CHECK(loss(2.0) < loss(1.8));
  CHECK(loss(2.0) < loss(2.2));
  CHECK(quantile_loss(zeros<double>({1001, 1}), x, q, Reduce::none).shape() == Shape{1001, 1});
}

TEST_CASE("what quantile_loss refuses") {
  test::check_error<ShapeError>(
      [] {
        return quantile_loss(zeros<float>({4, 2}), zeros<float>({4}), tensor<float>({0.5}));
      },
      "quantile_loss: predicted is (4, 2), target (4,) and the quantiles (1,), but they must be (..., k), (...) and "
      "(k,)");
  test::check_error<ValueError>(
      [] {
        return quantile_loss(zeros<float>({4, 1}), zeros<float>({4}), tensor<float>({1}));
      },
      "quantile_loss: quantile 1, but must be between 0 and 1");
}
