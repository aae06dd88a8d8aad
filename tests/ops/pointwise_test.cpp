// pointwise() as a user calls it.
#include "gradus/ops/pointwise.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("swish gate", lambda x, g: x * torch.sigmoid(x) * g, uniform(-3, 3, 3, 17), randn(3, 17))
case("swish gate", lambda x, g: x * torch.sigmoid(x) * g, uniform(-3, 3, 4, 1), randn(5))
case("leaky", lambda x: F.leaky_relu(x, 0.1), randn(3, 17) + 0.001)
case("leaky", lambda x: F.leaky_relu(x, 0.1), special(), order=1)
case("clamp", lambda x: x.clamp(-1, 1), torch.cat((uniform(-2, -1.1, 20), uniform(-0.9, 0.9, 20), uniform(1.1, 2, 20))))
case("masked", lambda x, m: torch.where(m & (x > 0), x * x, -x), randn(3, 17) + 0.001, booleans(3, 17))
*/

using namespace gradus;

TEST_CASE("a fused kernel of a user") {
  test::check_operator("swish gate",
                       []<class T>(const Tensor<T>& x, const Tensor<T>& g) {
                         return pointwise("swish_gate", [](auto a, auto b) { return a / (1.0 + exp(-a)) * b; })(x, g);
                       },
                       {.pointwise = true});
}

TEST_CASE("a number known only at run time is an operand") {
  double slope = 0.1;
  test::check_operator<double, float>("leaky",
                                      [slope]<class T>(const Tensor<T>& x) {
                                        return pointwise(
                                            "leaky", [](auto a, auto s) { return where(a > 0.0, a, s * a); })(x, slope);
                                      },
                                      {.pointwise = true, .signed_zeros = false});
  test::check_operator<double, float>(
      "clamp",
      []<class T>(const Tensor<T>& x) {
        return pointwise("clamp", [](auto a, auto low, auto high) { return minimum(maximum(a, low), high); })(x, -1, 1);
      },
      {.pointwise = true});
}

TEST_CASE("masks take part in formulas") {
  test::check_operator<double, float>(
      "masked",
      []<class T>(const Tensor<T>& x, const Tensor<bool>& mask) {
        return pointwise("masked", [](auto a, auto m) { return where(m && a > 0.0, a * a, -a); })(x, mask);
      },
      {.pointwise = true});
}

TEST_CASE("errors of a user's kernel carry its name") {
  auto blend = pointwise("blend", [](auto a, auto b) { return a + b; });
  test::check_error<ShapeError>(
      [&] { return blend(zeros<float>({2}), zeros<float>({3})); },
      "blend: shapes (2,) and (3,) do not broadcast: sizes 2 and 3 must be equal, or one of them 1");
  test::check_error<ValueError>([&] { return blend(zeros<float>({2}), Tensor<float>()); },
                                "blend: a tensor was used before it was given a value");
}

TEST_CASE("a gradient reads only what it must: the other operand may change") {
  auto a = tensor<double>({1, 2}).set_requires_grad(), b = tensor<double>({3, 4});
  auto sum = pointwise("sum", [](auto x, auto y) { return x + y; })(a, b);
  auto product = pointwise("product", [](auto x, auto y) { return x * y; })(a, b);
  b.fill_(0);
  sum.backward(ones<double>({2}));
  CHECK(a.grad().to_vector() == std::vector<double>{1, 1});
  test::check_error<AutogradError>([&] { product.backward(ones<double>({2})); },
                                   "backward: a tensor that 'product' needs for its gradient was changed in place by "
                                   "'fill_' after it was used; clone() it before the change");
}

TEST_CASE("pointwise: results too large for a cache hold the same numbers") {
  int64_t rows = 1031, n = 8209;  // over 32 MiB, of a width that fills no register
  auto x = rand<float>({rows, n}), row = rand<float>({n});
  auto dense = x * 3.0f, broadcast = x * row;
  auto flags = x > 0.5f;  // small again
  int wrong = 0;
  for (int64_t i = 0; i < rows * n; ++i) {
    auto value = x.data()[i];
    wrong += dense.data()[i] != value * 3.0f || broadcast.data()[i] != value * row.data()[i % n];
    wrong += flags.data()[i] != (value > 0.5f);
  }
  CHECK(wrong == 0);
}
