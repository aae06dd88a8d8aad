// Independent models train in threads of their own, and a steady step takes nothing from the system.
#include <thread>

#include "gradus/autograd/parameter.hpp"
#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

struct Line {
  Parameter<float> weight{randn<float>({64, 48})};
  Parameter<float> bias{zeros<float>({48})};
  GRADUS_FIELDS(weight, bias)
};

/// One step of gradient descent on elementwise operators.
void step(Line& model) {
  auto x = randn<float>({64, 48});  // (64, 48)
  auto difference = x * model.weight.tensor() + model.bias.tensor() - x;
  (difference * difference).backward(full<float>({64, 48}, 1.0f / 64));
  no_grad([&] {
    for (auto& parameter : parameters(model)) parameter.copy_(parameter - 0.01f * parameter.grad());
  });
  zero_grad(model);
}

std::vector<float> trained(uint64_t seed) {
  manual_seed(seed);
  Line model;
  for (int i = 0; i < 30; ++i) step(model);
  return model.weight.tensor().to_vector();
}

}  // namespace

TEST_CASE("threads: two models train in two threads as they do alone") {
  auto first = trained(1), second = trained(2);
  CHECK(first != second);
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<float> a, b;
    std::thread one([&] { a = trained(1); }), two([&] { b = trained(2); });
    one.join();
    two.join();
    CHECK(a == first);
    CHECK(b == second);
  }
}

TEST_CASE("threads: gradient mode belongs to a thread") {
  auto x = tensor<float>(3).set_requires_grad();
  NoGradGuard guard;
  bool recorded = false;
  std::thread([&] { recorded = (x * x).requires_grad(); }).join();
  CHECK(recorded);
  CHECK(!(x * x).requires_grad());
}

TEST_CASE("threads: a graph may be walked and released by another thread than the one that made it") {
  auto x = tensor<float>(3).set_requires_grad();
  auto y = x * x;
  std::thread([&, moved = std::move(y)]() mutable {
    moved.backward();
    moved = {};
  }).join();
  CHECK(x.grad().item() == 6);
}

TEST_CASE("threads: many read one model at once") {
  manual_seed(3);
  Line model;
  auto x = randn<float>({64, 48});
  auto predict = [&] { return no_grad([&] { return (x * model.weight.tensor()).to_vector(); }); };
  auto want = predict();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) wrong += predict() != want;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

#if !defined(__SANITIZE_ADDRESS__)  // which gets every block back at once
TEST_CASE("steady state: a repeated step takes nothing from the system") {
  manual_seed(4);
  Line model;
  for (int i = 0; i < 5; ++i) step(model);
  auto before = memory_stats();
  reset_peak_memory();
  for (int i = 0; i < 20; ++i) step(model);
  auto after = memory_stats();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.bytes_in_use == before.bytes_in_use);
  CHECK(after.peak_bytes > after.bytes_in_use);
}
#endif
