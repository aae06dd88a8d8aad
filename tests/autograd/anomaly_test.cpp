#include "gradus/autograd/anomaly.hpp"

#include "gradus/nn/linear.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/log.hpp"
#include "gradus/ops/pointwise/sqrt.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

struct TwoLayers {
  nn::Linear<double> first{2, 2, {.bias = false}}, second{2, 1, {.bias = false}};
  GRADUS_FIELDS(first, second)
  Tensor<double> operator()(const Tensor<double>& x) const { return second(first(x)); }
};

}  // namespace

TEST_CASE("anomaly: names the first operator whose result is not finite, and the place") {
  auto x = tensor<double>({{1, -1, 0}, {2, 4, -2}});
  CHECK_NOTHROW(log(x));
  AnomalyGuard guard;
  check_error<AnomalyError>([&] { sum(log(x) * 2.0); }, "log: the result has nan in 3 of 6 elements, first at (0, 1)");
  check_error<AnomalyError>(
      [&] {
        log(cast<bf16>(tensor<float>({1, 0})));
      },
      "log: the result has -inf in 1 of 2 elements, first at (1,)");
  check_error<AnomalyError>(
      [&] {
        sum(tensor<float>({3e38f, 3e38f}));
      },
      "sum: the result has inf in 1 of 1 elements, first at ()");
  CHECK(sum(sqrt(tensor<double>({4, 9}))).item() == 5);
}

TEST_CASE("anomaly: infinities may be allowed, and guards nest and end") {
  auto zero = tensor<double>({0});
  {
    AnomalyGuard outer;
    {
      AnomalyGuard inner({.infinities = false});
      CHECK(std::isinf(log(zero).item()));
      check_error<AnomalyError>([&] { log(zero) - log(zero); },
                                "subtract: the result has nan in 1 of 1 elements, first at (0,)");
    }
    check_error<AnomalyError>([&] { log(zero); }, "log: the result has -inf in 1 of 1 elements, first at (0,)");
  }
  CHECK(std::isinf(log(zero).item()));
}

TEST_CASE("anomaly: gradients too, with the operator whose gradient it is") {
  auto x = tensor<double>({4, 0}).set_requires_grad();
  AnomalyGuard guard;
  auto y = sum(sqrt(x));
  check_error<AnomalyError>([&] { y.backward(); },
                            "backward of 'sqrt': a gradient has inf in 1 of 2 elements, first at (1,)");
  CHECK(!x.grad().defined());
}

TEST_CASE("anomaly: the layer of a model is named, forward and backward") {
  TwoLayers model;
  train(model);
  auto x = tensor<double>({{1, 2}});
  no_grad([&] { Tensor<double>(model.second.weight.tensor()).fill_(std::numeric_limits<double>::max()); });
  no_grad([&] { Tensor<double>(model.first.weight.tensor()).fill_(1); });
  AnomalyGuard guard;
  check_error<AnomalyError>([&] { model(x); },
                            "TwoLayers.second: linear: the result has inf in 1 of 1 elements, first at (0, 0)");
  no_grad([&] { Tensor<double>(model.second.weight.tensor()).fill_(1e200); });
  auto loss = sum(model(x * 1e-150)) * 1e200;  // the gradient of the second layer's input overflows
  check_error<AnomalyError>([&] { loss.backward(); },
                            "backward of 'linear' in TwoLayers.second: a gradient has inf in 2 of 2 "
                            "elements, first at (0, 0)");
}
