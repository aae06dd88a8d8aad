#include "gradus/autograd/gradcheck.hpp"

#include "gradus/core/fields.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

using Tensors = std::vector<Tensor<double>>;

/// x * x with a gradient that a user got wrong by a factor.
Tensor<double> square(const Tensor<double>& x, double factor) {
  return differentiable("square", (x * x).detach(),
                        wrt(x, [x = saved(x), factor](const Tensor<double>& dy) { return factor * dy * x(); }));
}

/// x * x whose gradient is right but made of a plain, unrecorded number.
Tensor<double> square_once(const Tensor<double>& x) {
  return differentiable("square_once", (x * x).detach(),
                        wrt(x, [x = saved(x)](const Tensor<double>& dy) { return 2.0 * dy * x().detach(); }));
}

struct Layer {
  Parameter<double> weight{tensor<double>({{1, 2}, {3, 4}})}, bias{tensor<double>({0.5, -0.5})};
  GRADUS_FIELDS(weight, bias)
  Tensor<double> operator()(const Tensor<double>& x) const { return tanh(x * weight.tensor() + bias.tensor()); }
};

struct FloatLayer {
  Parameter<float> weight{tensor<float>({1, 2})};
  GRADUS_FIELDS(weight)
};

}  // namespace

TEST_CASE("gradcheck passes what is right and says how much it looked at") {
  auto f = [](const Tensors& in) { return tanh(in[0]) * in[1]; };
  auto report = gradcheck(f, {tensor<double>({{0.1, -2}, {0.7, 3}}), tensor<double>({2, 5})});
  CHECK(report.elements == 6);
  CHECK(report.largest_error > 0);
  CHECK(report.largest_error < 1e-8);
  CHECK(gradgradcheck(f, {tensor<double>({{0.1, -2}, {0.7, 3}}), tensor<double>({2, 5})}).elements == 10);
}

TEST_CASE("gradcheck finds a wrong gradient and names the place") {
  auto x = tensor<double>({{1, 2}, {3, 4}});
  gradcheck([](const Tensors& in) { return square(in[0], 2); }, {x});
  auto wrong = [&] { gradcheck([](const Tensors& in) { return square(in[0], 2.001); }, {x}); };
  test::check_error_contains<AutogradError>(wrong, "gradcheck: input 0, element (0, 0): the gradient is ");
  test::check_error_contains<AutogradError>(wrong, ", but the central difference is ");
}

TEST_CASE("gradgradcheck finds a gradient that forgets an input") {
  auto x = tensor<double>({1, 2});
  gradcheck([](const Tensors& in) { return square_once(in[0]); }, {x});
  test::check_error_contains<AutogradError>(
      [&] { gradgradcheck([](const Tensors& in) { return square_once(in[0]); }, {x}); },
      "gradgradcheck: input 0, element (0,): the gradient is 0, but the central difference is ");
}

TEST_CASE("a function that does not depend on an input has a gradient of zero there") {
  CHECK(gradcheck([](const Tensors& in) { return in[0] * 2; }, {ones<double>({2}), ones<double>({3})}).elements == 5);
  CHECK(gradcheck([](const Tensors&) { return ones<double>({2}); }, {ones<double>({2})}).largest_error == 0);
  CHECK(gradgradcheck([](const Tensors& in) { return in[0] * 2; }, {ones<double>({2})}).elements == 4);
}

TEST_CASE("gradcheck leaves everything as it was") {
  auto x = tensor<double>({1, 2}).set_requires_grad(), y = tensor<double>({3, 4}), other = ones<double>({2});
  other.set_requires_grad();
  gradcheck([&](const Tensors& in) { return in[0] * in[1] * other; }, {x, y});
  CHECK(x.to_vector() == std::vector<double>{1, 2});
  CHECK(y.to_vector() == std::vector<double>{3, 4});
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(other.grad().defined());
  CHECK(x.requires_grad());
  CHECK_FALSE(y.requires_grad());
  auto fail = [&] { gradcheck([&](const Tensors& in) { return square(in[0], 3); }, {y}); };
  CHECK_THROWS_AS(fail(), AutogradError);
  CHECK(y.to_vector() == std::vector<double>{3, 4});
  CHECK_FALSE(y.requires_grad());
}

TEST_CASE("gradcheck refuses functions and inputs that say nothing") {
  int calls = 0;
  test::check_error_contains<AutogradError>(
      [&] {
        gradcheck([&](const Tensors& in) { return in[0] * static_cast<double>(calls++); }, {tensor<double>({2})});
      },
      " for the same inputs; a check needs one that repeats itself (seed its random numbers inside)");
  test::check_error<ValueError>(
      [] {
        auto repeated = Tensor<double>(detail::make_impl(DType::f64, ones<double>({1}).impl()->storage, 0, {3}, {0}));
        gradcheck([](const Tensors& in) { return in[0] * 2; }, {repeated});
      },
      "gradcheck: an input of shape (3,) repeats one element along axis 0; clone() it first");
}

TEST_CASE("gradcheck of at most so many elements spreads them evenly") {
  auto f = [](const Tensors& in) { return in[0] * in[0]; };
  CHECK(gradcheck(f, {ones<double>({100})}, {.max_elements = 7}).elements == 7);
}

TEST_CASE("gradcheck of inputs that are not contiguous") {
  auto memory = tensor<double>({1, 9, 2, 9, 3, 9});
  auto x = Tensor<double>(detail::make_impl(DType::f64, memory.impl()->storage, 0, {3}, {2}));
  CHECK(gradcheck([](const Tensors& in) { return in[0] * in[0]; }, {x}).elements == 3);
  CHECK(memory.to_vector() == std::vector<double>{1, 9, 2, 9, 3, 9});
}

TEST_CASE("gradcheck of a model names its parameters") {
  Layer layer;
  auto x = tensor<double>({0.3, -0.2});
  CHECK(gradcheck_model(layer, [&] { return layer(x); }).elements == 6);
  CHECK(gradgradcheck_model(layer, [&] { return layer(x); }).elements == 10);
  test::check_error_contains<AutogradError>(
      [&] { gradcheck_model(layer, [&] { return layer(x) + square(layer.bias.tensor(), 3); }); },
      "gradcheck: bias, element (0,): the gradient is ");
  FloatLayer single;
  test::check_error<TypeError>([&] { gradcheck_model(single, [&] { return x; }); },
                               "gradcheck_model: FloatLayer has no parameters of type double, the only precision in "
                               "which differences say anything");
}
