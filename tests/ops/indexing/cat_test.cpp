#include "gradus/ops/indexing/cat.hpp"

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
join = lambda axis: lambda *parts: torch.cat(parts, axis)
case("cat", join(0), randn(2, 3), randn(1, 3), randn(4, 3))
case("cat", join(0), randn(0, 3), randn(1, 3), randn(0, 3))
case("cat", join(0), randn(2), randn(1), randn(3))
case("cat along the last axis", join(-1), randn(2, 3), randn(2, 1))
case("cat along a middle axis", join(1), randn(2, 3, 4), randn(2, 0, 4))
case("cat with itself", lambda x: torch.cat((x, x * x, x)), randn(2, 3))
case("cat of whole numbers", join(0), integers(-9, 9, 2, 3), integers(-9, 9, 1, 3), integers(-9, 9, 4, 3))
*/

using namespace gradus;

TEST_CASE("cat") {
  auto three = []<class T>(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& c) { return cat<T>({a, b, c}); };
  test::check_operator("cat", three,
                       {.large = {randn<double>({200, 300}), randn<double>({1, 300}), randn<double>({99, 300})}});
  test::check_operator<int64_t, int32_t>("cat of whole numbers", three);
  test::check_operator<double>("cat along the last axis", []<class T>(const Tensor<T>& a, const Tensor<T>& b) {
    return cat<T>({a, b}, -1);
  });
  test::check_operator<double>("cat along a middle axis", []<class T>(const Tensor<T>& a, const Tensor<T>& b) {
    return cat<T>({a, b}, 1);
  });
  test::check_operator<double>("cat with itself", []<class T>(const Tensor<T>& x) { return cat<T>({x, x * x, x}); });
}

TEST_CASE("what cat refuses") {
  auto a = zeros<float>({2, 3}), b = zeros<float>({4, 3});
  test::check_error<ValueError>([] { return cat<float>({}); }, "cat: nothing to join");
  test::check_error<ShapeError>(
      [&] {
        return cat<float>({a, b}, 1);
      },
      "cat: (2, 3) and (4, 3) differ in more than axis 1");
  test::check_error<ShapeError>(
      [&] {
        return cat<float>({a, zeros<float>({3})});
      },
      "cat: (2, 3) and (3,) differ in more than axis 0");
  test::check_error<IndexError>([&] { return cat<float>({a, b}, 2); }, "cat: axis 2 of a tensor with 2 axes");
}
