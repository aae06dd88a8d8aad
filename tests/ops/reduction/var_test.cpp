#include "gradus/ops/reduction/var.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("var", torch.var, randn(3, 4, 5))
case("var", torch.var, randn(1), order=0)
case("var over an axis", lambda x: x.var(-1, keepdim=True), randn(3, 4, 5))
case("var over an axis", lambda x: x.var(-1, keepdim=True), randn(0, 5))
case("var over an axis", lambda x: x.var(-1, keepdim=True), randn(2, 5) * 0.01 + 100)
case("var of a population", lambda x: x.var((0, 2), correction=0), randn(3, 4, 5))
*/

using namespace gradus;

TEST_CASE("var") {
  test::check_operator("var", []<class T>(const Tensor<T>& x) { return var(x); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({300, 700})}});
  test::check_operator<double, float>("var over an axis",
                                      []<class T>(const Tensor<T>& x) { return var(x, -1, {.keep_dims = true}); },
                                      {.float_tolerance = 1e-5, .large = {randn<double>({300, 700})}});
  test::check_operator<double, float>("var of a population", []<class T>(const Tensor<T>& x) {
    return var(x, {0, 2}, {.correction = 0});
  });
}
