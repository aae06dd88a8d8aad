#include "gradus/ops/pointwise/where.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("where", torch.where, booleans(3, 17), randn(3, 17), randn(3, 17))
case("where", torch.where, booleans(4, 1), randn(1, 5), randn(3, 1, 1))
case("where", torch.where, booleans(), randn(), randn())
case("where", torch.where, booleans(0, 3), randn(0, 3), randn(1))
case("where", torch.where, booleans(*special().shape), special(), special().flip(0), order=1)
case("where of whole numbers", torch.where, booleans(4, 5), integers(0, 100, 4, 5), integers(0, 100, 5))
case("where with numbers", lambda c, x: torch.where(c, 0.5, torch.where(c, x, 2.5)), booleans(3, 17), randn(3, 17))
# what is not chosen must not spoil the gradient: log at 0 and below
case("where guards", lambda c, x: torch.where(c, x, 1.0), torch.tensor([True, False, False]),
     torch.tensor([2., nan, inf]).double(), order=1)
*/

using namespace gradus;

TEST_CASE("where") {
  auto call = []<class T>(const Tensor<bool>& c, const Tensor<T>& a, const Tensor<T>& b) { return where(c, a, b); };
  test::check_operator("where", call, {.pointwise = true});
  test::check_operator<int64_t, int32_t, uint8_t>("where of whole numbers", call, {.pointwise = true});
}

TEST_CASE("where with numbers") {
  test::check_operator<double, float>(
      "where with numbers",
      []<class T>(const Tensor<bool>& c, const Tensor<T>& x) { return where(c, 0.5, where(c, x, 2.5)); },
      {.pointwise = true});
  test::check_operator<double, float>("where guards",
                                      []<class T>(const Tensor<bool>& c, const Tensor<T>& x) { return where(c, x, 1); },
                                      {.pointwise = true});
}
