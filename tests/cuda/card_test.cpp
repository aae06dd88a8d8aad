// What is particular to a GPU: devices, copies, memory, and errors that its kernels cannot throw. On a machine without
// one, and without the simulated card, these cases are skipped.
#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
#define NEEDS_CARD(device)      \
  auto device = Device::best(); \
  if (device.is_cpu()) SKIP_LOUDLY("no GPU: " << no_card_reason())

namespace {

std::string no_card_reason() {
  std::string reason;
  cuda::detail::device_count(&reason);
  return reason;
}

}  // namespace

TEST_CASE("tensors go to a GPU and come back") {
  NEEDS_CARD(device);
  auto x = arange<float>(24);
  auto there = reshape(x, {4, 6}).to(device);
  CHECK(to_string(there.device()) == "cuda:0");
  CHECK(there(2, 3) == 15);
  CHECK(transpose(there).to(Device::cpu())(3, 2) == 15);
  CHECK(slice(there, 1, 1, 6, 2).to_vector() == slice(reshape(x, {4, 6}), 1, 1, 6, 2).to_vector());
  auto copy = there.clone();
  copy.set({0, 0}, 7.0f);
  CHECK((copy(0, 0) == 7 && there(0, 0) == 0));
  copy.fill_(2);
  CHECK(copy.to_vector() == std::vector<float>(24, 2.0f));
  test::check_error<DeviceError>([&] { there.span(); }, "span: the tensor is on cuda:0; call .to(Device::cpu()) first");
  test::check_error<DeviceError>([&] { return there + x; },
                                 "add: tensors on cuda:0 and cpu; move one with .to(device)");
}

TEST_CASE("a gradient comes back to the device that a tensor came from") {
  NEEDS_CARD(device);
  auto x = tensor<float>({1, 2, 3});
  x.set_requires_grad();
  auto y = x.to(device);
  sum(y * y).backward();
  CHECK(x.grad().device().is_cpu());
  CHECK(x.grad().to_vector() == std::vector<float>{2, 4, 6});
}

TEST_CASE("an index out of range in a kernel is told when the host waits") {
  NEEDS_CARD(device);
  auto table = randn<float>({5, 3}).to(device);
  auto y = embedding(tensor<int64_t>({1, 7}).to(device), table);
  auto text = test::error_text<IndexError>([&] { y.to_vector(); });
  INFO(text);
  CHECK(text.find("embedding: index 7 is out of range: it must be in [0, 5)") == 0);
  CHECK(embedding(tensor<int64_t>({1, 4}).to(device), table)(1, 2) == table(4, 2));  // it is told once
}

TEST_CASE("a steady step on a GPU takes no memory from the driver") {
  NEEDS_CARD(device);
  models::Mlp<float> model({20, 32, 16, 5});
  to(model, device);
  optim::AdamW adam(model, {.lr = 1e-3});
  auto x = test::hashed<float>(1, {16, 20}, -1, 1).to(device);
  auto labels = test::hashed_labels(2, 16, 5).to(device);
  auto step = [&] {
    auto loss = cross_entropy(model(x), labels);
    loss.backward();
    adam.step();
    adam.zero_grad();
    return loss;
  };
  auto first = step().item();
  for (int i = 0; i < 3; ++i) step();
  auto before = cuda::stats(device);
  for (int i = 0; i < 5; ++i) step();
  auto after = cuda::stats(device);
  CHECK(after.driver_allocations == before.driver_allocations);
  CHECK(after.waits == before.waits);
  CHECK(after.copies == before.copies);
  CHECK(after.launches > before.launches);
  CHECK(step().item() < first);
}

TEST_CASE("dropout on a GPU drops what it drops on the CPU") {
  NEEDS_CARD(device);
  auto x = ones<float>({7, 13});
  manual_seed(5);
  auto here = dropout(x, 0.3).to_vector();
  manual_seed(5);
  CHECK(dropout(x.to(device), 0.3).to_vector() == here);
}

TEST_CASE("many rows are added by index in order") {
  NEEDS_CARD(device);
  auto index = test::hashed_labels(3, 3000, 17);
  auto x = test::hashed<double>(4, {3000, 5}, -1, 1);
  auto want = index_add(x, 0, index, 17).to_vector();
  auto got = index_add(x.to(device), 0, index.to(device), 17).to_vector();
  for (size_t i = 0; i < want.size(); ++i) CHECK(got[i] == Approx(want[i]).epsilon(1e-12));
}
#else
TEST_CASE("a program without GPU support says so") {
  test::check_error<DeviceError>([] { Device::cuda(1); },
                                 "Device::cuda(1): this program was built without GPU support; use Device::best()");
}
#endif
