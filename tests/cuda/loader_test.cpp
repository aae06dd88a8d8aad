// A loader that sends batches to a GPU while kernels run there.
#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

struct LoadedSet {
  Tensor<float> x = test::hashed<float>(1, {60, 700}, -1, 1);
  Tensor<int64_t> labels = test::hashed_labels(2, 60, 5);

  auto loader(Device device, int prefetch = 2) const {
    return data::Loader(data::TensorDataset(x, labels),
                        {.batch_size = 8, .shuffle = true, .seed = 3, .prefetch = prefetch, .device = device});
  }
};

}  // namespace

TEST_CASE("batches that are sent beside the kernels are the CPU's") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  LoadedSet set;
  auto here = set.loader(Device::cpu()), there = set.loader(device);
  for (int epoch = 0; epoch < 6; ++epoch) {
    std::vector<float> wanted, got;
    std::vector<Tensor<float>> sums;
    for (auto& [x, y] : here) wanted.push_back(sum(x * cast<float>(unsqueeze(y, 1))).item());
    for (auto& [x, y] : there) {
      CHECK(x.device() == device);
      sums.push_back(sum(x * cast<float>(unsqueeze(y, 1))));  // read behind the epoch: nothing waits in between
    }
    for (const auto& one : sums) got.push_back(one.item());
    REQUIRE(got.size() == wanted.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(wanted[i]).margin(1e-4));
  }
}

TEST_CASE("an epoch of a loader waits for no kernel and asks the driver for no memory") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  LoadedSet set;
  auto loader = set.loader(device);
  Tensor<float> total;
  auto epoch = [&] {
    for (auto& [x, y] : loader) total = sum(x) + sum(cast<float>(y));
  };
  epoch();
  epoch();
  total.item();
  auto before = cuda::stats(device);
  epoch();
  auto after = cuda::stats(device);
  CHECK(after.waits == before.waits);
  CHECK(after.driver_allocations == before.driver_allocations);
  CHECK(after.copies == before.copies + 2 * loader.batches());
}

TEST_CASE("a loop over batches on a GPU may be left at any time") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  LoadedSet set;
  auto loader = set.loader(device);
  Tensor<float> kept;
  for (int64_t batches = 0; batches < 5; ++batches) {
    int64_t seen = 0;
    for (auto& [x, y] : loader) {
      if (seen++ == batches) {
        kept = x;  // lives on
        break;
      }
    }
  }
  auto order = loader.order(4);
  for (int64_t row = 0; row < 8; ++row) CHECK(kept(row, 699) == set.x(order[static_cast<size_t>(4 * 8 + row)], 699));
}

TEST_CASE("batches arrive while a step is captured") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  LoadedSet set;
  auto train = [&](bool captured) {
    manual_seed(7);
    models::Mlp<float> model({700, 16, 5});
    to(model, device);
    optim::AdamW adam(model, {.lr = 1e-2});
    auto x = Tensor<float>::empty({8, 700}, device);
    auto labels = Tensor<int64_t>::empty({8}, device);
    auto plain = [&] {
      auto loss = cross_entropy(model(x), labels);
      loss.backward();
      adam.step();
      adam.zero_grad();
      return loss;
    };
    auto step = capture(device, plain);
    auto loader = data::Loader(data::TensorDataset(set.x, set.labels),
                               {.batch_size = 8, .shuffle = true, .drop_last = true, .seed = 3, .device = device});
    std::vector<float> losses;
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (auto& [batch, wanted] : loader) {
        x.copy_(batch);
        labels.copy_(wanted);
        losses.push_back((captured ? step() : plain()).item());
      }
    }
    return losses;
  };
  CHECK(train(true) == train(false));
}
#endif
