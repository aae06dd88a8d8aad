// A few steps of training with the kernels that the processor has, or that GRADUS_INSTRUCTIONS names; without
// gradus::compiled, with those that this unit is compiled for.
#include <cmath>
#include <cstdio>

#include "gradus/models/lenet.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/tensor.hpp"

using namespace gradus;

int main() {
#if defined(GRADUS_COMPILED)
  constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  std::printf("instructions: %s\n", names[static_cast<int>(detail::compiled_instructions())]);
#endif
  manual_seed(1);
  models::LeNet<float> model;
  optim::AdamW adam(model);
  auto images = randn<float>({4, 1, 28, 28});   // (4, 1, 28, 28)
  auto labels = tensor<int64_t>({1, 2, 3, 4});  // (4,)
  float first = 0, last = 0;
  for (int step = 0; step < 5; ++step) {
    auto loss = cross_entropy(model(images), labels);  // ()
    loss.backward();
    adam.step();
    adam.zero_grad();
    last = loss.item();
    if (step == 0) first = last;
  }
  std::printf("loss: %.4f to %.4f\n", static_cast<double>(first), static_cast<double>(last));
  return last < first ? 0 : 1;
}
