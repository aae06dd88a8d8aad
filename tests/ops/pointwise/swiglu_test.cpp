#include "gradus/ops/pointwise/swiglu.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("swiglu", lambda gate, x: F.silu(gate) * x, randn(3, 17), randn(3, 17))
case("swiglu", lambda gate, x: F.silu(gate) * x, randn(4, 1), randn(3))
case("swiglu", lambda gate, x: F.silu(gate) * x, randn(0, 3), randn(3))
*/

using namespace gradus;

TEST_CASE("swiglu") {
  test::check_operator("swiglu", []<class T>(const Tensor<T>& gate, const Tensor<T>& x) { return swiglu(gate, x); },
                       {.pointwise = true, .bf16_tolerance = 2.0 / 128});
}
