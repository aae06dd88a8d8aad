#include "gradus/ops/norm/rms_norm.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def norm(x, weight=None, eps=1e-6):
    return F.rms_norm(x, x.shape[-1:], weight, eps)
case("rms_norm", norm, randn(3, 5), randn(5))
case("rms_norm", norm, randn(2, 3, 37), randn(37))
case("rms_norm", norm, randn(32), randn(32))
case("rms_norm", norm, randn(3, 1), randn(1))
case("rms_norm", norm, randn(0, 4), randn(4))
case("rms_norm", norm, torch.tensor([[1., inf, 2.], [nan, 1, 2], [0, 0, 0]]).double(), randn(3), order=1)
case("rms_norm without weight", norm, randn(2, 3, 19))
case("rms_norm with eps", lambda x, w: norm(x, w, 0.5), randn(4, 6), randn(6))
*/

using namespace gradus;

TEST_CASE("rms_norm") {
  manual_seed(1);
  test::check_operator("rms_norm",
                       []<class T>(const Tensor<T>& x, const Tensor<T>& weight) { return rms_norm(x, weight); },
                       {.double_tolerance = 1e-11,
                        .float_tolerance = 1e-5,
                        .bf16_tolerance = 0.05,
                        .large = {randn<double>({300, 701}), randn<double>({701})}});
  test::check_operator<double, float>(
      "rms_norm without weight", []<class T>(const Tensor<T>& x) { return rms_norm(x); }, {.float_tolerance = 1e-5});
  test::check_operator<double>("rms_norm with eps", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) {
    return rms_norm(x, weight, 0.5);
  });
}

TEST_CASE("what rms_norm refuses") {
  test::check_error<ShapeError>(
      [] {
        return rms_norm(zeros<float>({2, 3}), ones<float>({2}));
      },
      "rms_norm: input is (2, 3) and weight (2,), but weight must have the size of the "
      "input's last axis");
  test::check_error<ShapeError>([] { return rms_norm(tensor<float>(1)); }, "rms_norm: a scalar has no axis");
}
