#include "gradus/ops/pointwise/maximum.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
for name, f in [("maximum", torch.maximum), ("minimum", torch.minimum)]:
    case(name, f, randn(3, 17), randn(3, 17) + 0.001)
    case(name, f, randn(4, 1, 5), randn(3, 1) + 0.001)
    case(name, f, randn(0, 3), randn(1))
    case(name, f, *special_pairs(), order=1)
    case(name + " of whole numbers", f, integers(0, 100, 4, 9), integers(0, 100, 9))
    number = lambda x: torch.full((), x, dtype=torch.float64)
    case(name + " and a number", lambda x: f(x, number(0.5)), randn(3, 17))
    case("a number and " + name, lambda x: f(number(-1), x), randn(3, 17))
*/

using namespace gradus;

// At a tie of 0 and -0 PyTorch's vector loop gives either.

TEST_CASE("maximum") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return maximum(a, b); };
  test::check_operator("maximum", call, {.pointwise = true, .signed_zeros = false});
  test::check_operator<int64_t, int32_t, uint8_t>("maximum of whole numbers", call, {.pointwise = true});
  test::check_operator<double>("maximum and a number", []<class T>(const Tensor<T>& x) { return maximum(x, 0.5); },
                               {.pointwise = true});
  test::check_operator<double>("a number and maximum", []<class T>(const Tensor<T>& x) { return maximum(-1, x); },
                               {.pointwise = true});
}

TEST_CASE("minimum") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return minimum(a, b); };
  test::check_operator<double, float>("minimum", call, {.pointwise = true, .signed_zeros = false});
  test::check_operator<int64_t, uint8_t>("minimum of whole numbers", call, {.pointwise = true});
  test::check_operator<double>("minimum and a number", []<class T>(const Tensor<T>& x) { return minimum(x, 0.5); },
                               {.pointwise = true});
  test::check_operator<double>("a number and minimum", []<class T>(const Tensor<T>& x) { return minimum(-1, x); },
                               {.pointwise = true});
}
