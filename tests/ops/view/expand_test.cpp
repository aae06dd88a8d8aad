#include "gradus/ops/view/expand.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("expand", lambda x: x.expand(2, 3, 4), randn(3, 1))
case("expand", lambda x: x.expand(2, 3, 4), randn())
case("expand", lambda x: x.expand(2, 3, 4), randn(2, 3, 4))
case("expand to nothing", lambda x: x.expand(0, 3), randn(1, 3))
case("sum_to", lambda x: x.sum((0, 2), keepdim=True)[0], randn(2, 3, 4))
case("sum_to a scalar", lambda x: x.sum(), randn(2, 3, 4))
*/

using namespace gradus;

TEST_CASE("expand") {
  test::check_operator("expand", []<class T>(const Tensor<T>& x) { return expand(x, {2, 3, 4}); });
  test::check_operator<double>("expand to nothing", []<class T>(const Tensor<T>& x) { return expand(x, {0, 3}); });
  auto x = zeros<bool>({3, 1});
  CHECK(expand(x, {2, 3, 4}).data() == x.data());
}

TEST_CASE("sum_to") {
  test::check_operator<double, float>("sum_to", []<class T>(const Tensor<T>& x) { return sum_to(x, {3, 1}); });
  test::check_operator<double>("sum_to a scalar", []<class T>(const Tensor<T>& x) { return sum_to(x, {}); });
  auto x = zeros<float>({2, 3});
  CHECK(sum_to(x, {2, 3}).data() == x.data());
}

TEST_CASE("shapes that expand and sum_to refuse") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>([&] { return expand(x, {3}); }, "expand: x is (2, 3) and does not broadcast to (3,)");
  test::check_error<ShapeError>(
      [&] {
        return expand(x, {1, 3});
      },
      "expand: x is (2, 3) and does not broadcast to (1, 3)");
  test::check_error<ShapeError>(
      [&] {
        return expand(x, {4, 3});
      },
      "expand: shapes (2, 3) and (4, 3) do not broadcast: sizes 2 and 4 must be equal, or one "
      "of them 1");
  test::check_error<ShapeError>(
      [&] {
        return sum_to(x, {1, 2, 3});
      },
      "sum_to: x is (2, 3) and cannot be summed to (1, 2, 3)");
}
