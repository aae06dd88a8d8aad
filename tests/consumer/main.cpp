// What every consumer project builds: one training step through the umbrella header.
#include <gradus/gradus.hpp>

#include <cstdio>

int main() {
  auto weight = gradus::full<float>({3}, 2.0f).set_requires_grad();  // (3)
  auto loss = gradus::sum(weight * weight);                          // ()
  loss.backward();
  std::printf("gradus %s: loss %g, gradient %g\n", GRADUS_VERSION, loss.item(), weight.grad()(0));
  return loss.item() == 12.0f && weight.grad()(0) == 4.0f ? 0 : 1;
}
