#include "gradus/ops/view/slice.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("slice", lambda x: x[:, 1:4], randn(3, 5, 2))
case("slice", lambda x: x[:, 1:4], randn(0, 5))
case("slice with a step", lambda x: x[::2], randn(5, 3))
case("slice from the end", lambda x: x[..., -3:-1], randn(2, 5))
case("slice past the end", lambda x: x[2:100], randn(5, 3))
case("slice of nothing", lambda x: x[3:1], randn(5, 3))
case("select", lambda x: x[:, 2], randn(3, 5, 2))
case("select from the end", lambda x: x[-2], randn(3, 5))
*/

using namespace gradus;

TEST_CASE("slice") {
  test::check_operator("slice", []<class T>(const Tensor<T>& x) { return slice(x, 1, 1, 4); });
  test::check_operator<double>("slice with a step", []<class T>(const Tensor<T>& x) { return slice(x, 0, 0, 5, 2); });
  test::check_operator<double>("slice from the end", []<class T>(const Tensor<T>& x) { return slice(x, -1, -3, -1); });
  test::check_operator<double>("slice past the end", []<class T>(const Tensor<T>& x) { return slice(x, 0, 2, 100); });
  test::check_operator<double>("slice of nothing", []<class T>(const Tensor<T>& x) { return slice(x, 0, 3, 1); });
  auto x = arange<int64_t>(10);
  CHECK(slice(x, 0, 4, 9, 2).to_vector() == std::vector<int64_t>{4, 6, 8});
  CHECK(slice(x, 0, 4, 9).data() == x.data() + 4);
  CHECK(slice(x, 0, std::numeric_limits<int64_t>::lowest(), std::numeric_limits<int64_t>::max()).numel() == 10);
}

TEST_CASE("select") {
  test::check_operator<double, float>("select", []<class T>(const Tensor<T>& x) { return select(x, 1, 2); });
  test::check_operator<double>("select from the end", []<class T>(const Tensor<T>& x) { return select(x, 0, -2); });
}

TEST_CASE("parts that slice and select refuse") {
  auto x = zeros<float>({2, 3});
  test::check_error<ValueError>([&] { return slice(x, 0, 0, 2, 0); }, "slice: the step is 0, but must be at least 1");
  test::check_error<IndexError>([&] { return slice(x, 2, 0, 1); }, "slice: axis 2 of a tensor with 2 axes");
  test::check_error<IndexError>([&] { return select(x, 1, 3); },
                                "select: index 3 is out of range for axis 1 of shape (2, 3)");
  test::check_error<IndexError>([&] { return select(x, 0, -3); },
                                "select: index -3 is out of range for axis 0 of shape (2, 3)");
}
