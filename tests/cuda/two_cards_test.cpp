// Several GPUs in one program, a thread for each.
#include <thread>

#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
#define NEEDS_TWO_CARDS() \
  if (cuda::detail::device_count() < 2) SKIP_LOUDLY("there are not two GPUs")

namespace {

/// Losses of a few steps.
std::vector<float> train_on(Device device, int steps) {
  models::Mlp<float> model({12, 24, 4});
  test::fill_hashed<float>(model);
  to(model, device);
  optim::AdamW adam(model, {.lr = 1e-2});
  data::Loader loader(data::TensorDataset(test::hashed<float>(1, {64, 12}, -1, 1), test::hashed_labels(2, 64, 4)),
                      {.batch_size = 16, .shuffle = true, .seed = 9, .device = device});
  std::vector<Tensor<float>> losses;
  while (std::ssize(losses) < steps) {
    for (auto& [x, y] : loader) {
      losses.push_back(cross_entropy(model(x), y));
      losses.back().backward();
      optim::clip_grad_norm(model, 1.0);
      adam.step();
      adam.zero_grad();
    }
  }
  std::vector<float> values;
  for (const auto& loss : losses) values.push_back(loss.item());
  return values;
}

}  // namespace

TEST_CASE("tensors go from one GPU to another") {
  NEEDS_TWO_CARDS();
  auto first = Device::cuda(0), second = Device::cuda(1);
  auto x = test::hashed<float>(1, {40, 30}, -1, 1);
  auto a = x.to(first);
  for (int i = 0; i < 20; ++i) {  // what is computed on one is read on the other, without a wait in between
    auto b = (a * 2.0).to(second);
    a = (transpose(b) * 0.5).to(first);
    a = transpose(a).clone();
  }
  CHECK(a.to_vector() == x.to_vector());
  CHECK(slice(a, 1, 3, 20).to(second)(1, 1) == x(1, 4));
  test::check_error<DeviceError>([&] { return a + a.to(second); },
                                 "add: tensors on cuda:0 and cuda:1; move one with .to(device)");
  auto before = cuda::stats(first).waits + cuda::stats(second).waits;
  auto moved = a.to(second);
  CHECK(cuda::stats(first).waits + cuda::stats(second).waits == before);
  test::check_error_contains<DeviceError>([] { Device::cuda(64); }, "GPUs, numbered from 0");
}

TEST_CASE("two threads train on a GPU each") {
  NEEDS_TWO_CARDS();
  auto wanted = train_on(Device::cuda(0), 16);
  std::vector<float> results[2];
  std::vector<std::thread> threads;
  for (int card = 0; card < 2; ++card)
    threads.emplace_back([&, card] { results[card] = train_on(Device::cuda(card), 16); });
  for (auto& thread : threads) thread.join();
  CHECK(results[0] == wanted);
  CHECK(results[1] == wanted);
}
#endif
