#include "gradus/ops/view/permute.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("permute", lambda x: x.permute(2, 0, 1), randn(3, 4, 5))
case("permute", lambda x: x.permute(2, 0, 1), randn(3, 0, 5))
case("permute from the end", lambda x: x.permute(-1, 0, -2), randn(3, 4, 5))
case("transpose", lambda x: x.transpose(-2, -1), randn(3, 4, 5))
case("transpose outer", lambda x: x.transpose(0, 2), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("permute") {
  test::check_operator<double, float>("permute", []<class T>(const Tensor<T>& x) { return permute(x, {2, 0, 1}); });
  test::check_operator<double>("permute from the end", []<class T>(const Tensor<T>& x) {
    return permute(x, {-1, 0, -2});
  });
  auto x = zeros<int32_t>({2, 3});
  CHECK(permute(x, {1, 0}).data() == x.data());
  CHECK(permute(tensor<float>(1), {}).shape() == Shape{});
}

TEST_CASE("transpose") {
  test::check_operator<double, float>("transpose", []<class T>(const Tensor<T>& x) { return transpose(x); });
  test::check_operator<double>("transpose outer", []<class T>(const Tensor<T>& x) { return transpose(x, 0, 2); });
}

TEST_CASE("orders that permute refuses") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>([&] { return permute(x, {0}); }, "permute: order (0,) for a tensor of shape (2, 3)");
  test::check_error<ShapeError>([&] { return permute(x, {1, 1}); }, "permute: order (1, 1) names axis 1 twice");
  test::check_error<IndexError>([&] { return permute(x, {0, 2}); }, "permute: axis 2 of a tensor with 2 axes");
  test::check_error<IndexError>([&] { return transpose(x, 0, 2); }, "transpose: axis 2 of a tensor with 2 axes");
  test::check_error<IndexError>([&] { return transpose(zeros<float>({2})); },
                                "transpose: axis -2 of a tensor with 1 axes");
}
