#include "gradus/ops/indexing/stack.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
pile = lambda axis: lambda *parts: torch.stack(parts, axis)
case("stack", pile(0), randn(2, 3), randn(2, 3), randn(2, 3))
case("stack", pile(0), randn(), randn(), randn())
case("stack", pile(0), randn(0, 3), randn(0, 3), randn(0, 3))
case("stack in the middle", pile(1), randn(2, 3), randn(2, 3))
case("stack along the last axis", pile(-1), randn(2, 3), randn(2, 3))
case("stack of whole numbers", pile(-1), integers(-9, 9, 2, 3), integers(-9, 9, 2, 3))
*/

using namespace gradus;

namespace {

auto stacked_along(int64_t axis) {
  return [axis]<class T>(const Tensor<T>& a, const Tensor<T>& b) { return stack<T>({a, b}, axis); };
}

}  // namespace

TEST_CASE("stack") {
  test::check_operator("stack", []<class T>(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& c) {
    return stack<T>({a, b, c});
  });
  test::check_operator<double>("stack in the middle", stacked_along(1));
  test::check_operator<double>("stack along the last axis", stacked_along(-1));
  test::check_operator<int64_t, uint8_t>("stack of whole numbers", stacked_along(-1));
}

TEST_CASE("what stack refuses") {
  auto a = zeros<float>({2, 3});
  test::check_error<ValueError>([] { return stack<float>({}); }, "stack: nothing to join");
  test::check_error<ShapeError>(
      [&] {
        return stack<float>({a, zeros<float>({4, 3})});
      },
      "stack: (2, 3) and (4, 3) must be equal");
}
