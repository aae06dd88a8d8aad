#include "gradus/train/capture.hpp"

#include <cmath>

#include "gradus/nn/linear.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

TEST_CASE("on the CPU a captured step is the step itself") {
  nn::Linear<float> layer(3, 2);
  optim::SGD<float> sgd(layer, {.lr = 0.5});
  auto x = ones<float>({4, 3});
  int calls = 0;
  auto step = capture(Device::cpu(), [&] {
    ++calls;
    auto y = layer(x);
    sum(y).backward();
    sgd.step();
    sgd.zero_grad();
    return y;
  });
  auto before = layer.bias.tensor()(0);
  for (int i = 0; i < 4; ++i) step();
  CHECK(calls == 4);
  CHECK(std::abs(layer.bias.tensor()(0) - (before - 8)) < 1e-5f);
  CHECK(step().shape() == Shape{4, 2});
  auto moved = std::move(step);
  moved();
  CHECK(calls == 6);
}
