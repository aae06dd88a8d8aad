// 100 training steps of each model on a card, beside the same steps on the CPU: the same weights, the same four batches
// in turn, the same dropout masks, AdamW with the same options. Compared is each of the 100 losses, as a share of the
// first; all must be finite, and those of the last four steps below those of the first four. Deep networks with batch
// norm train in double: in float the last bits of one sum, which differ between card and CPU, grow too large in 100
// steps.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/cuda/on_card.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

constexpr int card_steps = 100;

struct LongRun {
  double lr = 3e-3;
  double eps = 1e-8;        ///< AdamW's: gradients far below it do not become steps as large as others
  double tolerance = 1e-3;  ///< of each loss, as a share of the first
  double falls_to = 0.95;   ///< at least, the last four losses as a share of the first four
};

/// Losses of the steps on this device. loss_of(model, batch) is the loss of batch 0, 1, 2 or 3.
template <Floating T, class Model, class Loss>
std::vector<double> losses_on(Device device, Model model, const LongRun& run, Loss& loss_of) {
  to(model, device);
  manual_seed(5);  // of dropout
  optim::AdamW<T> adam(model, {.lr = run.lr, .eps = run.eps});
  std::vector<Tensor<T>> losses;
  for (int step = 0; step < card_steps; ++step) {
    auto loss = loss_of(model, static_cast<uint32_t>(step % 4));
    loss.backward();
    adam.step();
    adam.zero_grad();
    losses.push_back(loss.detach());
  }
  std::vector<double> found;
  for (const auto& loss : losses) {
    if constexpr (std::is_same_v<T, double>) found.push_back(loss.item());
    else found.push_back(static_cast<double>(static_cast<float>(loss.item())));
  }
  return found;
}

template <Floating T, class Model, class Loss>
void check_long_run(Model model, Loss loss_of, const LongRun& run = {}) {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  test::fill_hashed<T>(model);
  // A copy has weights of its own.
  auto want = losses_on<T>(Device::cpu(), Model(model), run, loss_of);
  auto got = losses_on<T>(device, std::move(model), run, loss_of);
  double worst = 0;
  int worst_step = 0;
  bool finite = true;
  for (size_t i = 0; i < got.size(); ++i) {
    finite = finite && std::isfinite(got[i]) && std::isfinite(want[i]);
    auto distance = std::abs(got[i] - want[i]) / want[0];
    if (distance <= worst) continue;
    worst = distance;
    worst_step = static_cast<int>(i);
  }
  auto some = [](const std::vector<double>& losses, size_t first) {
    return losses[first] + losses[first + 1] + losses[first + 2] + losses[first + 3];
  };
  INFO("losses begin at " << want[0] << ", end at " << want.back() << " and " << got.back()
                          << " on the card, are furthest from each other at step " << worst_step << ": "
                          << want[static_cast<size_t>(worst_step)] << " and " << got[static_cast<size_t>(worst_step)]);
  CHECK(got.size() == card_steps);
  CHECK(finite);
  CHECK(worst < run.tolerance);
  CHECK(some(got, card_steps - 4) < run.falls_to * some(got, 0));
}

template <Floating T>
auto images_loss(const Shape& batch, int64_t classes) {
  return [=](auto& model, uint32_t k) {
    auto device = device_of(model);
    return cross_entropy(model(test::hashed<T>(100 + k, batch, -1, 1).to(device)),
                         test::hashed_labels(200 + k, batch[0], classes).to(device));
  };
}
Tensor<int64_t> batch_of_ids(uint32_t seed, const Shape& shape, int64_t count, Device device) {
  return reshape(test::hashed_labels(seed, shape.numel(), count), shape).to(device);
}
/// Of the token that follows each of 12.
auto next_token_loss() {
  return [](auto& model, uint32_t k) {
    auto ids = batch_of_ids(100 + k, {4, 13}, 31, device_of(model));
    return cross_entropy(flatten(model(slice(ids, 1, 0, 12)), 0, 1), flatten(slice(ids, 1, 1, 13), 0));
  };
}
auto forecast_of_series_loss() {
  return [](auto& model, uint32_t k) {
    auto device = device_of(model);
    return mse_loss(model(test::hashed<float>(100 + k, {6, 7, 5}, -1, 1).to(device)),
                    test::hashed<float>(200 + k, {6, 4}, -1, 1).to(device));
  };
}
models::GptOptions trained_gpt() {
  return {.vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .dropout = 0.1};
}

}  // namespace

TEST_CASE("100 steps on a card as on the CPU: MLP") {
  check_long_run<float>(models::Mlp<float>({20, 32, 16, 5}), images_loss<float>({16, 20}, 5));
}
TEST_CASE("100 steps on a card as on the CPU: LeNet") {
  check_long_run<float>(models::LeNet<float>(), images_loss<float>({1, 1, 28, 28}, 10), {.lr = 3e-4});
}
TEST_CASE("100 steps on a card as on the CPU: ResNet-9") {
  check_long_run<float>(models::ResNet9<float>(3, 5, 4), images_loss<float>({4, 3, 16, 16}, 5), {.lr = 1e-3});
}
TEST_CASE("100 steps on a card as on the CPU: ResNet-18") {
  models::ResNetOptions options{.classes = 5, .width = 4};
  check_long_run<double>(models::ResNet<double>(options), images_loss<double>({4, 3, 32, 32}, 5),
                         {.lr = 3e-4, .eps = 1e-4});
}
// With fewer images, batch norm makes a difference of rounding double with every other step, here and on the CPU alone:
// ResNet-50 and MobileNetV2.
TEST_CASE("100 steps on a card as on the CPU: ResNet-50") {
  models::ResNetOptions options{.blocks = {3, 4, 6, 3}, .bottleneck = true, .classes = 5, .width = 2};
  check_long_run<double>(models::ResNet<double>(options), images_loss<double>({12, 3, 16, 16}, 5),
                         {.lr = 3e-5, .eps = 1e-4});
}
TEST_CASE("100 steps on a card as on the CPU: MobileNetV2") {
  check_long_run<double>(models::MobileNetV2<double>({.classes = 5, .width = 0.05}),
                         images_loss<double>({12, 3, 16, 16}, 5), {.lr = 3e-5, .eps = 1e-4});
}
TEST_CASE("100 steps on a card as on the CPU: U-Net") {
  models::UNet<double> model({.classes = 2, .width = 4, .levels = 2});
  check_long_run<double>(std::move(model), [](auto& net, uint32_t k) {
    auto device = device_of(net);
    return bce_with_logits(net(test::hashed<double>(100 + k, {2, 3, 12, 16}, -1, 1).to(device)),
                           test::hashed<double>(200 + k, {2, 2, 12, 16}, 0, 1).to(device));
  });
}
TEST_CASE("100 steps on a card as on the CPU: ViT") {
  models::VitOptions options{
      .image = 16, .patch = 4, .classes = 5, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48};
  check_long_run<float>(models::Vit<float>(options), images_loss<float>({4, 3, 16, 16}, 5), {.lr = 1e-3});
}
TEST_CASE("100 steps on a card as on the CPU: GPT with dropout") {
  check_long_run<float>(models::Gpt<float>(trained_gpt()), next_token_loss());
}
TEST_CASE("100 steps on a card as on the CPU: GPT in bf16") {
  auto options = trained_gpt();
  options.dropout = 0;
  check_long_run<bf16>(models::Gpt<bf16>(options), next_token_loss(), {.tolerance = 0.08});
}
TEST_CASE("100 steps on a card as on the CPU: Llama") {
  models::LlamaOptions options{
      .vocabulary = 31, .context = 16, .layers = 2, .heads = 4, .kv_heads = 2, .width = 32, .feed_forward = 48};
  check_long_run<float>(models::Llama<float>(options), next_token_loss());
}
TEST_CASE("100 steps on a card as on the CPU: BERT") {
  models::BertOptions options{
      .vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48};
  check_long_run<float>(
      models::BertClassifier<float>(options, 3),
      [](auto& model, uint32_t k) {
        auto device = device_of(model);
        auto seen = (unsqueeze(arange<int64_t>(9), 0) < unsqueeze(tensor<int64_t>({9, 4, 1, 7}), 1)).to(device);
        return cross_entropy(
            model(batch_of_ids(100 + k, {4, 9}, 31, device), seen, batch_of_ids(300 + k, {4, 9}, 2, device)),
            test::hashed_labels(200 + k, 4, 3).to(device));
      },
      {.lr = 1e-3});
}
TEST_CASE("100 steps on a card as on the CPU: LSTM forecaster") {
  check_long_run<float>(models::LstmForecaster<float>(5, 4, {.hidden = 12}), forecast_of_series_loss());
}
TEST_CASE("100 steps on a card as on the CPU: LSTM forecaster by cuDNN") {
  test::RecurrentByCudnnGuard recurrent;
  check_long_run<float>(models::LstmForecaster<float>(5, 4, {.hidden = 12}), forecast_of_series_loss());
}
TEST_CASE("100 steps on a card as on the CPU: GRU forecaster") {
  check_long_run<float>(models::GruForecaster<float>(5, 4, {.hidden = 12}), forecast_of_series_loss());
}
TEST_CASE("100 steps on a card as on the CPU: LSTM language model") {
  models::RecurrentLanguageModelOptions options{.embedding = 16, .hidden = 16, .layers = 1};
  check_long_run<float>(models::RecurrentLanguageModel<float>(31, options), next_token_loss());
}
TEST_CASE("100 steps on a card as on the CPU: seq2seq") {
  models::Seq2SeqOptions options{.embedding = 8, .hidden = 12, .layers = 1};
  check_long_run<float>(models::Seq2Seq<float>(11, 13, options), [](auto& model, uint32_t k) {
    auto device = device_of(model);
    auto target = batch_of_ids(200 + k, {4, 7}, 13, device);
    auto logits = model(batch_of_ids(100 + k, {4, 6}, 11, device), slice(target, 1, 0, 6),
                        tensor<int64_t>({6, 2, 4, 1}).to(device));
    return cross_entropy(flatten(logits, 0, 1), flatten(slice(target, 1, 1, 7), 0));
  });
}
TEST_CASE("100 steps on a card as on the CPU: TCN") {
  models::TcnOptions options{.channels = {8, 8, 6}};
  check_long_run<float>(models::Tcn<float>(3, 2, options), [](auto& model, uint32_t k) {
    auto device = device_of(model);
    return mse_loss(model(test::hashed<float>(100 + k, {8, 20, 3}, -1, 1).to(device)),
                    test::hashed<float>(200 + k, {8, 2}, -1, 1).to(device));
  });
}
#endif
