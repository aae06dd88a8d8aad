#include "gradus/ops/view/reshape.hpp"

#include "gradus/ops/view/permute.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("reshape", lambda x: x.reshape(6, -1), randn(3, 4, 5))
case("reshape of a transpose", lambda x: x.transpose(0, 2).reshape(-1), randn(3, 4, 5))
case("flatten", lambda x: x.flatten(1), randn(3, 4, 5))
case("flatten", lambda x: x.flatten(1), randn(0, 4, 5))
case("flatten outer", lambda x: x.flatten(0, 1), randn(3, 4, 5))
case("unsqueeze", lambda x: x.unsqueeze(1), randn(3, 4))
case("unsqueeze last", lambda x: x.unsqueeze(-1), randn(3, 4))
case("unsqueeze last", lambda x: x.unsqueeze(-1), randn())
case("squeeze", lambda x: x.squeeze(1), randn(3, 1, 4))
case("squeeze all", lambda x: x.squeeze(), randn(1, 3, 1, 4, 1))
case("contiguous", lambda x: x.transpose(0, 1).contiguous(), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("reshape") {
  test::check_operator("reshape", []<class T>(const Tensor<T>& x) { return reshape(x, {6, -1}); });
  test::check_operator<double>("reshape of a transpose",
                               []<class T>(const Tensor<T>& x) { return reshape(transpose(x, 0, 2), {-1}); });
  auto x = zeros<int64_t>({2, 3});
  CHECK(reshape(x, {3, 2}).data() == x.data());
  CHECK(reshape(transpose(x), {6}).data() != x.data());
  CHECK(reshape(zeros<float>({0, 3}), {3, 0, 7}).shape() == Shape{3, 0, 7});
}

TEST_CASE("flatten") {
  test::check_operator<double, float>("flatten", []<class T>(const Tensor<T>& x) { return flatten(x); });
  test::check_operator<double>("flatten outer", []<class T>(const Tensor<T>& x) { return flatten(x, 0, 1); });
  CHECK(flatten(tensor<float>(2)).shape() == Shape{1});
}

TEST_CASE("squeeze and unsqueeze") {
  test::check_operator<double>("unsqueeze", []<class T>(const Tensor<T>& x) { return unsqueeze(x, 1); });
  test::check_operator<double>("unsqueeze last", []<class T>(const Tensor<T>& x) { return unsqueeze(x, -1); });
  test::check_operator<double>("squeeze", []<class T>(const Tensor<T>& x) { return squeeze(x, 1); });
  test::check_operator<double>("squeeze all", []<class T>(const Tensor<T>& x) { return squeeze(x); });
  auto x = zeros<uint8_t>({2, 1, 3});
  CHECK(squeeze(unsqueeze(x, 0)).data() == x.data());
}

TEST_CASE("contiguous") {
  test::check_operator<double, float>("contiguous",
                                      []<class T>(const Tensor<T>& x) { return contiguous(transpose(x, 0, 1)); });
  auto x = zeros<bool>({2, 3});
  CHECK(contiguous(x).data() == x.data());
  CHECK(contiguous(transpose(x)).is_contiguous());
}

TEST_CASE("shapes that reshape and its kin refuse") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>(
      [&] {
        return reshape(x, {4, 2});
      },
      "reshape: x is (2, 3) with 6 elements, but (4, 2) has 8");
  test::check_error<ShapeError>(
      [&] {
        return reshape(x, {4, -1});
      },
      "reshape: 6 elements of shape (2, 3) do not fill (4, -1)");
  test::check_error<ShapeError>(
      [&] {
        return reshape(x, {-1, -1});
      },
      "reshape: shape (-1, -1) leaves two sizes open, but at most one can be worked out");
  test::check_error<ShapeError>([&] { return reshape(x, {-2, 3}); }, "reshape: shape (-2, 3) has a negative size");
  test::check_error<ShapeError>(
      [&] {
        return reshape(zeros<float>({0, 3}), {0, -1});
      },
      "reshape: 0 elements of shape (0, 3) do not fill (0, -1)");
  test::check_error<ShapeError>([&] { return flatten(x, 1, 0); }, "flatten: axis 1 comes after axis 0 of shape (2, 3)");
  test::check_error<IndexError>([&] { return flatten(x, 2); }, "flatten: axis 2 of a tensor with 2 axes");
  test::check_error<ShapeError>([&] { return squeeze(x, 0); }, "squeeze: axis 0 of shape (2, 3) has size 2, not 1");
  test::check_error<IndexError>([&] { return squeeze(x, 3); }, "squeeze: axis 3 of a tensor with 2 axes");
  test::check_error<IndexError>([&] { return unsqueeze(x, 4); }, "unsqueeze: axis 4 of a tensor with 3 axes");
}
