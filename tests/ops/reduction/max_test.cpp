#include "gradus/ops/reduction/max.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
infinite = torch.tensor([[1., inf, -inf], [-inf, -inf, -inf]]).double()
with_nan = torch.tensor([[1., nan, 3.], [nan, 1., 2.], [1., 2., nan]]).double()
for name, f in [("max", torch.amax), ("min", torch.amin)]:
    case(name, f, distinct(3, 4, 5))
    case(name, f, randn())
    case(name + " over the last axis", lambda x: f(x, -1), distinct(3, 4, 5))
    case(name + " over the last axis", lambda x: f(x, -1), distinct(2, 100))
    case(name + " over the last axis", lambda x: f(x, -1), randn(0, 3))
    case(name + " over the last axis", lambda x: f(x, -1), infinite, order=1)
    case(name + " over the first axis", lambda x: f(x, 0), distinct(5, 70))
    case(name + " over outer axes", lambda x: f(x, (0, 2), keepdim=True), distinct(3, 4, 5, 2))
    case(name + " of ties", lambda x: f(x, 1), torch.round(randn(4, 30)), order=1)
    case(name + " of NaN", lambda x: f(x, 1), with_nan, order=0)
    case(name + " of whole numbers", lambda x: f(x, 1), integers(0, 100, 3, 40))
*/

using namespace gradus;

TEST_CASE("max") {
  test::check_operator<double>("max", []<class T>(const Tensor<T>& x) { return max(x); },
                               {.large = {randn<double>({300, 700})}});
  auto last = []<class T>(const Tensor<T>& x) { return max(x, -1); };
  test::check_operator("max over the last axis", last, {.large = {randn<double>({300, 700})}});
  test::check_operator<double, float>("max of ties", last);
  test::check_operator<double, float>("max of NaN", last);
  test::check_operator<int64_t, int32_t, uint8_t>("max of whole numbers", last);
  test::check_operator<double>("max over the first axis", []<class T>(const Tensor<T>& x) { return max(x, 0); },
                               {.large = {randn<double>({3000, 70})}});
  test::check_operator<double>("max over outer axes", []<class T>(const Tensor<T>& x) { return max(x, {2, 0}, true); });
}

TEST_CASE("min") {
  test::check_operator<double>("min", []<class T>(const Tensor<T>& x) { return min(x); });
  auto last = []<class T>(const Tensor<T>& x) { return min(x, -1); };
  test::check_operator<double>("min over the last axis", last);
  test::check_operator<double>("min of ties", last);
  test::check_operator<double>("min of NaN", last);
  test::check_operator<int64_t, int32_t, uint8_t>("min of whole numbers", last);
  test::check_operator<double>("min over the first axis", []<class T>(const Tensor<T>& x) { return min(x, 0); });
  test::check_operator<double>("min over outer axes", []<class T>(const Tensor<T>& x) { return min(x, {2, 0}, true); });
}

TEST_CASE("extremes of the lowest and highest numbers") {
  constexpr auto low = std::numeric_limits<int64_t>::lowest(), high = std::numeric_limits<int64_t>::max();
  auto x = tensor<int64_t>({low, high});
  CHECK(max(x).item() == high);
  CHECK(min(x).item() == low);
  CHECK(min(tensor<uint8_t>({0, 255, 7})).item() == 0);
  CHECK(max(tensor<uint8_t>({0, 255, 7})).item() == 255);
}

TEST_CASE("a maximum of nothing") {
  test::check_error<ShapeError>(
      [] {
        return max(zeros<float>({2, 0}), 1);
      },
      "max: nothing to choose from in axes (1,) of shape (2, 0)");
  test::check_error<ShapeError>(
      [] {
        return min(zeros<float>({2, 0}), 1);
      },
      "min: nothing to choose from in axes (1,) of shape (2, 0)");
  CHECK(max(zeros<float>({0, 3}), 1).shape() == Shape{0});
  test::check_error<IndexError>([] { return max(zeros<float>({2, 3}), 2); }, "max: axis 2 of a tensor with 2 axes");
}
