// Steps that are captured and replayed: the same bits as steps that are not.
#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

struct TwoLayers {
  nn::Linear<float> first{12, 20}, second{20, 5};
  GRADUS_FIELDS(first, second)
};

/// A network with dropout, and everything that changes from step to step.
template <class Optimizer>
struct Trained {
  Device device = Device::best();
  TwoLayers model = seeded(device);
  Optimizer optimizer;
  Tensor<float> x, target;

  template <class Options>
  explicit Trained(const Options& options) : optimizer(model, options) {
    x = test::hashed<float>(1, {6, 12}, -1, 1).to(device);
    target = test::hashed<float>(2, {6, 5}, -1, 1).to(device);
  }
  static TwoLayers seeded(Device device) {
    manual_seed(7);
    TwoLayers made;
    to(made, device);
    return made;
  }
  Tensor<float> step() {
    auto loss = mse_loss(model.second(dropout(relu(model.first(x)), 0.3)), target);
    loss.backward();
    optim::clip_grad_norm(model, 0.05);
    optimizer.step();
    optimizer.zero_grad();
    return loss;
  }
  /// Losses of some steps, with a schedule and data that change.
  template <class Run>
  std::vector<float> losses(Run&& run) {
    std::vector<float> all;
    for (int i = 0; i < 8; ++i) {
      optimizer.set_lr(0.05 / (1 + i));
      x.copy_(test::hashed<float>(static_cast<uint32_t>(10 + i), {6, 12}, -1, 1).to(device));
      all.push_back(run().item());
    }
    return all;
  }
};

template <class Optimizer, class Options>
void check_captured(const Options& options) {
  Trained<Optimizer> plain(options), captured(options);
  manual_seed(3);
  auto wanted = plain.losses([&] { return plain.step(); });
  manual_seed(3);
  auto step = capture(captured.device, [&] { return captured.step(); });
  CHECK(captured.losses([&] { return step(); }) == wanted);
  CHECK(captured.model.first.weight.tensor().to(Device::cpu()).to_vector() ==
        plain.model.first.weight.tensor().to(Device::cpu()).to_vector());
}

/// Batch norm counts its batches and moves its running statistics.
struct NormalizedImages {
  nn::Conv2d<float> conv{1, 4, {.kernel = 3}};
  nn::BatchNorm2d<float> norm{4};
  GRADUS_FIELDS(conv, norm)
};

bool has_card() { return !Device::best().is_cpu(); }

}  // namespace

TEST_CASE("a captured step with AdamW, dropout, clipping and a schedule gives the bits of one that is not") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  check_captured<optim::AdamW<float>>(optim::AdamWOptions{.lr = 0.05});
}
TEST_CASE("a captured step with SGD and momentum gives the bits of one that is not") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  check_captured<optim::SGD<float>>(optim::SgdOptions{.lr = 0.05, .momentum = 0.9});
}
TEST_CASE("captured steps round at random as steps that are not captured") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto run = [&](int warm_ups) {
    manual_seed(4);
    nn::Linear<bf16> layer(12, 5);
    to(layer, device);
    auto x = test::hashed<bf16>(1, {6, 12}, -1, 1).to(device);
    optim::AdamW<bf16> adam(layer, {.lr = 1e-3, .stochastic_rounding = true});
    auto step = capture(
        device,
        [&] {
          sum(dropout(layer(x), 0.3)).backward();
          adam.step();
          adam.zero_grad();
        },
        warm_ups);
    for (int i = 0; i < 6; ++i) step();
    return cast<float>(layer.weight.tensor()).to(Device::cpu()).to_vector();
  };
  CHECK(run(2) == run(100));
}
TEST_CASE("a captured step with batch norm counts batches and keeps statistics as one that is not") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {3, 1, 6, 6}, -1, 1).to(device);
  auto trained = [&](bool captured) {
    manual_seed(7);
    NormalizedImages model;
    to(model, device);
    optim::AdamW<float> adam(model);
    auto step = capture(
        device,
        [&] {
          auto y = model.norm(model.conv(x));
          auto loss = mean(y * y * y);
          loss.backward();
          adam.step();
          adam.zero_grad();
          return loss;
        },
        captured ? 2 : 1000);
    for (int i = 0; i < 6; ++i) step();
    CHECK(model.norm.num_batches_tracked.tensor().item() == 6);
    return std::pair(model.norm.running_var.tensor().to_vector(), model.conv.weight.tensor().detach().to_vector());
  };
  CHECK(trained(true) == trained(false));
}
TEST_CASE("dropped weights of attention change from replay to replay as they do without capture") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto q = test::hashed<float>(1, {2, 2, 5, 4}, -1, 1).to(device);
  auto run = [&] { return sum(scaled_dot_product_attention(q, q, q, {.causal = true, .dropout = 0.4})); };
  auto results = [&](auto&& step) {
    manual_seed(5);
    std::vector<float> all;
    for (int i = 0; i < 6; ++i) all.push_back(step().item());
    return all;
  };
  auto captured = capture(device, run);
  auto wanted = results(run);
  CHECK(results(captured) == wanted);
  CHECK(wanted[4] != wanted[5]);
}
TEST_CASE("a captured step takes no memory and keeps what it made") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {64, 64}, -1, 1).to(device);
  auto y = zeros<float>({64, 64}, device);
  {
    auto step = capture(device, [&] {
      auto z = exp(x) + x;
      y.copy_(z);
      return z;
    });
    Tensor<float> z;
    for (int i = 0; i < 4; ++i) z = step();
    auto before = cuda::stats(device);
    auto other = exp(x);  // finds no memory of the step's
    x.fill_(0.5f);
    auto launches = cuda::stats(device).launches;
    step();
    CHECK(cuda::stats(device).launches == launches + 1);
    CHECK(cuda::stats(device).driver_allocations - before.driver_allocations <= 1);
    auto wanted = std::exp(0.5f) + 0.5f;
    CHECK(std::abs(z(3, 5) - wanted) < 1e-6f);
    CHECK(std::abs(y(3, 5) - wanted) < 1e-6f);
    CHECK(other(0, 0) != z(0, 0));
  }
  CHECK(exp(x)(1, 1) == std::exp(0.5f));
}
TEST_CASE("what a captured step cannot do is told, and all goes on without it") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {8, 8}, -1, 1).to(device);
  auto reads = capture(
      device, [&] { return sum(x).item(); }, 0);
  test::check_error_contains<CaptureError>(reads, "brings data to the host");
  auto copies = capture(
      device,
      [&] {
        return x + test::hashed<float>(2, {8, 8}, 0, 1).to(device);
      },
      0);
  test::check_error_contains<CaptureError>(copies, "takes data from the host");
  auto waits = capture(
      device, [&] { cuda::synchronize(device); }, 0);
  test::check_error_contains<CaptureError>(waits, "'synchronize' cannot be captured: it waits for the GPU");
  auto twice = capture(
      device, [&] { return x * 2.0; }, 0);
  CHECK(twice()(1, 2) == 2 * x(1, 2));
}
TEST_CASE("an optimizer that is gone cannot step in a captured step") {
  if (!has_card()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  nn::Linear<float> layer(3, 2);
  to(layer, device);
  auto x = ones<float>({4, 3}, device);
  auto adam = std::make_unique<optim::AdamW<float>>(layer);
  auto step = capture(
      device,
      [&] {
        sum(layer(x)).backward();
        if (adam != nullptr) adam->step();
        for (auto part : {layer.weight.tensor(), layer.bias.tensor()}) part.set_grad({});
      },
      1);
  step();
  step();
  step();
  adam.reset();
  test::check_error_contains<CaptureError>(step, "the AdamW that a captured step uses is gone");
}
#endif
