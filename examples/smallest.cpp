// The smallest program that trains: a network of three layers learns y = sin(3 x), and says how far off it is.
#include <iostream>

#include "gradus/nn/linear.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/trigonometric.hpp"
#include "gradus/optim/adamw.hpp"

using namespace gradus;

struct Net {
  nn::Linear<float> first{1, 32}, second{32, 32}, last{32, 1};
  GRADUS_FIELDS(first, second, last)

  Tensor<float> operator()(const Tensor<float>& x) const {  // (n, 1)
    return last(tanh(second(tanh(first(x)))));              // (n, 1)
  }
};

int main() {
  manual_seed(1);
  auto x = rand<float>({256, 1}, -1, 1);  // (256, 1)
  auto y = sin(3.0f * x);                 // (256, 1)
  Net net;
  optim::AdamW adam(net, {.lr = 1e-2});
  float error = 0;
  for (int step = 0; step < 300; ++step) {
    auto loss = mse_loss(net(x), y);
    loss.backward();
    adam.step();
    adam.zero_grad();
    error = loss.item();
  }
  std::cout << "mean squared error after 300 steps: " << error << '\n';
  return error < 0.01f ? 0 : 1;
}
