#include "gradus/ops/loss/bce_with_logits.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.binary_cross_entropy_with_logits
case("bce_with_logits", f, randn(3, 7), uniform(0, 1, 3, 7))
case("bce_with_logits", f, 30 * randn(4, 5), booleans(4, 5).double())
case("bce_with_logits", f, randn(), uniform(0, 1))
case("bce_with_logits", f, randn(0, 3), randn(0, 3), order=1)
case("summed", lambda x, t: f(x, t, reduction="sum"), randn(3, 4), uniform(0, 1, 3, 4))
each = lambda x, t: f(x, t, reduction="none")
case("each", each, randn(3, 4), uniform(0, 1, 3, 4))
case("each", each, values([0, 0, -0.0, -0.0]), values([0, 1, 0.5, 0.25]))
x = special()
x = x[x != -inf]  # there PyTorch's has no value: infinity - infinity
case("each", each, x, (torch.arange(len(x)) % 3).double() / 2, order=1)

def weighted(x, t, w):  # PyTorch's has no gradient for pos_weight
    y = -(w * t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
    assert torch.allclose(y, f(x, t, pos_weight=w.detach(), reduction="none"), rtol=1e-9, atol=1e-12)
    return y.mean()

case("weighted", weighted, randn(4, 3), uniform(0, 1, 4, 3), uniform(0.5, 3, 3))
case("weighted", weighted, 8 * randn(4, 3), booleans(4, 3).double(), uniform(0.5, 3, 4, 1))
case("weighted", weighted, randn(2, 3), uniform(0, 1, 2, 3), uniform(0.5, 3))
*/

using namespace gradus;

namespace {

auto bce(Reduce reduction) {
  return [reduction]<class T>(const Tensor<T>& x, const Tensor<T>& t) {
    return bce_with_logits(x, t, {.reduction = reduction});
  };
}

}  // namespace

TEST_CASE("bce_with_logits") {
  test::check_operator("bce_with_logits",
                       []<class T>(const Tensor<T>& x, const Tensor<T>& t) { return bce_with_logits(x, t); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({300, 200}), rand<double>({300, 200})}});
  test::check_operator<double>("summed", bce(Reduce::sum), {}, __FILE__);
  test::check_operator("each", bce(Reduce::none), {.pointwise = true}, __FILE__);
}

TEST_CASE("bce_with_logits with a weight for positive targets") {
  test::check_operator<double, float>("weighted",
                                      []<class T>(const Tensor<T>& x, const Tensor<T>& t, const Tensor<T>& weight) {
                                        return bce_with_logits(x, t, {.pos_weight = weight});
                                      });
}

TEST_CASE("bce_with_logits keeps the digits of tiny losses and gradients") {
  for (auto sign : {1.0f, -1.0f}) {
    auto x = tensor<float>({20 * sign, 60 * sign}).set_requires_grad();
    auto losses = bce_with_logits(x, full<float>({2}, sign > 0 ? 1.0f : 0.0f), {.reduction = Reduce::none});
    auto gradient = grad(losses, x, {}, ones<float>({2}));
    for (int64_t i = 0; i < 2; ++i) {
      auto want = std::exp(-std::abs(static_cast<double>(x(i))));
      CHECK(losses(i) == Approx(want).epsilon(1e-6));
      CHECK(gradient(i) == Approx(-sign * want).epsilon(1e-6));
    }
  }
  auto infinity = std::numeric_limits<float>::infinity();
  auto certain = tensor<float>({-infinity, infinity});
  CHECK(bce_with_logits(certain, tensor<float>({1, 0}), {.reduction = Reduce::none}).to_vector() ==
        std::vector<float>{infinity, infinity});
}

TEST_CASE("what bce_with_logits refuses") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>([&] { return bce_with_logits(x, zeros<float>({2})); },
                                "bce_with_logits: logits are (2, 3) and targets (2,), but their shapes must be equal");
  test::check_error<ShapeError>(
      [&] {
        return bce_with_logits(x, x, {.pos_weight = ones<float>({4, 2, 3})});
      },
      "bce_with_logits: pos_weight is (4, 2, 3), but must broadcast to the logits' shape (2, 3)");
}
