// What a training step promises once it is warm: no memory from the system, the same bits at any number of threads.
#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/threads.hpp"

using namespace gradus;

namespace {

template <class Model, class Optimizer>
float train_step(Model& model, Optimizer& optimizer, const Tensor<float>& x, const Tensor<int64_t>& labels) {
  auto loss = cross_entropy(model(x), labels);
  loss.backward();
  optimizer.step();
  optimizer.zero_grad();
  return loss.item();
}

/// Takes steps until twenty in a row got nothing from the system, and tells how many there were before.
template <class Model, class Optimizer>
int steps_until_steady(int threads, Model& model, Optimizer optimizer, const Shape& batch) {
  test::Threads guard(threads);
  auto x = test::hashed<float>(1, batch, -1, 1);
  auto labels = test::hashed_labels(2, batch[0], 10);
  int steps = 0;
  for (int quiet = 0; quiet < 20 && steps < 500; ++steps) {
    auto before = memory_stats().system_allocations;
    train_step(model, optimizer, x, labels);
    quiet = memory_stats().system_allocations == before ? quiet + 1 : 0;
  }
  return steps - 20;
}

template <class Model>
void check_steady(Model model, const Shape& batch) {
  CHECK(steps_until_steady(1, model, optim::AdamW(model), batch) <= 3);
  CHECK(steps_until_steady(1, model, optim::SGD(model, {.momentum = 0.9}), batch) <= 3);
  CHECK(steps_until_steady(2, model, optim::AdamW(model), batch) <= 3);
}

/// Bits of all parameters and of the losses after three steps.
template <class Model>
std::vector<uint32_t> trained_bits(int threads, const Shape& batch) {
  test::Threads guard(threads);
  Model model;
  test::fill_hashed<float>(model);
  optim::AdamW adam(model, {.lr = 1e-3});
  std::vector<uint32_t> bits;
  for (uint32_t step = 0; step < 3; ++step) {
    auto x = test::hashed<float>(10 + step, batch, -1, 1);
    bits.push_back(std::bit_cast<uint32_t>(train_step(model, adam, x, test::hashed_labels(step, batch[0], 10))));
  }
  detail::for_each_model_tensor(model, [&](const std::string&, const auto& part) {
    if constexpr (std::is_same_v<typename std::remove_cvref_t<decltype(part)>::value_type, float>) {
      for (auto value : part.tensor().to_vector()) bits.push_back(std::bit_cast<uint32_t>(value));
    }
  });
  return bits;
}

struct SmallResNet : models::ResNet9<float> {
  SmallResNet() : models::ResNet9<float>(3, 10, 4) {}
};

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)  // under the sanitizer, which must see every access, nothing is cached
TEST_CASE("a warm training step takes no memory from the system") {
  check_steady(models::Mlp<float>({784, 128, 10}), {64, 784});
  check_steady(models::LeNet<float>(), {16, 1, 28, 28});
  check_steady(models::ResNet9<float>(3, 10, 4), {4, 3, 32, 32});
}
#endif

TEST_CASE("training gives the same bits with 1, 2 and 3 threads") {
  auto lenet = [](int threads) { return trained_bits<models::LeNet<float>>(threads, {33, 1, 28, 28}); };
  auto alone = lenet(1);
  CHECK(lenet(2) == alone);
  CHECK(lenet(3) == alone);
  auto resnet = [](int threads) { return trained_bits<SmallResNet>(threads, {12, 3, 32, 32}); };
  alone = resnet(1);
  CHECK(resnet(2) == alone);
  CHECK(resnet(3) == alone);
}
