#include "gradus/ops/window/resize.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def resized(*size):
    return lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False)
case("larger", resized(7, 9), randn(2, 2, 3, 4))
case("smaller", resized(2, 3), randn(1, 2, 5, 4))
case("one", resized(3, 2), randn(1, 1, 1, 1))
case("the same", resized(3, 4), randn(1, 2, 3, 4))
*/

using namespace gradus;

namespace {
auto resized_to(int64_t rows, int64_t columns) {
  return [=]<class T>(const Tensor<T>& x) { return resize_bilinear(x, {rows, columns}); };
}
}  // namespace

TEST_CASE("resize_bilinear") {
  test::check_operator<double, float>("larger", resized_to(7, 9), {.float_tolerance = 1e-5});
  test::check_operator<double>("smaller", resized_to(2, 3));
  test::check_operator<double>("one", resized_to(3, 2));
  test::check_operator<double>("the same", resized_to(3, 4));
}

TEST_CASE("what resize_bilinear refuses") {
  test::check_error<ShapeError>(
      [] {
        return resize_bilinear(zeros<float>({2, 3, 4}), {2, 2});
      },
      "resize_bilinear: x is (2, 3, 4), but must be (n, c, h, w) with pixels");
  test::check_error<ValueError>(
      [] {
        return resize_bilinear(zeros<float>({1, 2, 3, 4}), {0, 2});
      },
      "resize_bilinear: to (0, 2), but both must be at least 1");
}
