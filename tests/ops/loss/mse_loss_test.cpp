#include "gradus/ops/loss/mse_loss.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("mse_loss", F.mse_loss, randn(3, 4), randn(3, 4))
case("mse_loss", F.mse_loss, randn(), randn())
case("mse_loss", F.mse_loss, randn(0, 3), randn(0, 3), order=1)
case("mse_loss", F.mse_loss, torch.tensor([1., inf]).double(), torch.tensor([2., 1.]).double(), order=1)
*/

using namespace gradus;

TEST_CASE("mse_loss") {
  test::check_operator("mse_loss", []<class T>(const Tensor<T>& x, const Tensor<T>& y) { return mse_loss(x, y); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({300, 200}), randn<double>({300, 200})}});
  test::check_error<ShapeError>(
      [] {
        return mse_loss(zeros<float>({4, 1}), zeros<float>({4}));
      },
      "mse_loss: prediction is (4, 1) but target is (4,); reshape one, broadcasting here is "
      "nearly always a mistake");
}
