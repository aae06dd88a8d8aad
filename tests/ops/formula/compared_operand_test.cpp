// A formula that only compares one of its operands: the gradient of that one is zero, of any order.
#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/pointwise.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("an operand that is only compared has a gradient of zero", "[formula]") {
  using gradus::full;
  constexpr auto copy_sign =
      gradus::pointwise("copy_sign", [](auto x, auto y) { return where(x < 0.0, -y * y, y * y); });
  auto x = full<float>({3}, -2.0f), y = full<float>({3}, 4.0f);
  x.set_requires_grad(true);
  y.set_requires_grad(true);
  auto z = copy_sign(x, y);
  CHECK(z(1) == -16.0f);

  auto gradients = gradus::grad(gradus::sum(z), std::vector{x, y}, {.create_graph = true});
  CHECK(gradients[0](1) == 0.0f);
  CHECK(gradients[1](1) == -8.0f);
  auto second = gradus::grad(gradus::sum(gradients[1]), std::vector{y});
  CHECK(second[0](1) == -2.0f);
}
