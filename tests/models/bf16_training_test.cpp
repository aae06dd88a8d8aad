// Models in bf16, with exact values in float in the optimizer, learn as the same models in float do.
#include "gradus/models/gpt.hpp"
#include "gradus/models/lenet.hpp"
#include "gradus/models/lstm_forecaster.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

constexpr int bf16_steps = 100;
/// Allowed: by products of pairs LeNet comes to 0.047, with operands converted to float to 0.051.
constexpr double bf16_distance = 0.08;

/// Losses of 100 steps on four batches; loss(model, step % 4) is that of one.
template <Floating T, class Model, class Loss>
std::vector<double> losses_in(Model model, double lr, Loss&& loss) {
  test::fill_hashed<T>(model);
  optim::AdamW<T> adam(model, {.lr = lr});
  std::vector<double> found;
  for (int step = 0; step < bf16_steps; ++step) {
    auto value = loss(model, static_cast<uint32_t>(step % 4));
    value.backward();
    adam.step();
    adam.zero_grad();
    found.push_back(static_cast<double>(static_cast<float>(value.item())));
  }
  return found;
}

/// The largest distance of the two, as a share of the first loss.
double worst_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst / b[0];
}

template <Floating T, class Model>
std::vector<double> classifier_losses(Model model, double lr, const Shape& image) {
  return losses_in<T>(std::move(model), lr, [&](Model& net, uint32_t batch) {
    return cross_entropy(net(test::hashed<T>(100 + batch, image, -1, 1)),
                         test::hashed_labels(200 + batch, image[0], 10));
  });
}

template <Floating T>
std::vector<double> forecaster_losses() {
  return losses_in<T>(models::LstmForecaster<T>(5, 3, {.hidden = 40}), 3e-3, [](auto& net, uint32_t batch) {
    return mse_loss(net(test::hashed<T>(100 + batch, {33, 12, 5}, -1, 1)),
                    test::hashed<T>(200 + batch, {33, 3}, -1, 1));
  });
}

template <Floating T>
std::vector<double> gpt_losses() {
  models::GptOptions options{.vocabulary = 50, .context = 33, .layers = 2, .heads = 2, .width = 48, .dropout = 0};
  return losses_in<T>(models::Gpt<T>(options), 1e-3, [](auto& net, uint32_t batch) {
    auto ids = reshape(test::hashed_labels(100 + batch, 4 * 33, 50), {4, 33});
    return cross_entropy(flatten(net(ids), 0, 1), test::hashed_labels(200 + batch, 4 * 33, 50));
  });
}

}  // namespace

TEST_CASE("a dense network in bf16 follows the one in float") {
  using models::Mlp;
  auto got = classifier_losses<bf16>(Mlp<bf16>({60, 70, 50, 10}), 1e-3, {40, 60});
  auto want = classifier_losses<float>(Mlp<float>({60, 70, 50, 10}), 1e-3, {40, 60});
  CHECK(want.back() < 0.8 * want.front());
  CHECK(worst_distance(got, want) < 0.01);
}

TEST_CASE("LeNet in bf16 follows the one in float") {
  auto got = classifier_losses<bf16>(models::LeNet<bf16>(), 5e-4, {12, 1, 28, 28});
  auto want = classifier_losses<float>(models::LeNet<float>(), 5e-4, {12, 1, 28, 28});
  CHECK(want.back() < 0.8 * want.front());
  CHECK(worst_distance(got, want) < bf16_distance);
}

TEST_CASE("an LSTM in bf16 follows the one in float") {
  auto got = forecaster_losses<bf16>(), want = forecaster_losses<float>();
  CHECK(want.back() < 0.95 * want.front());
  CHECK(worst_distance(got, want) < bf16_distance);
}

TEST_CASE("a GPT in bf16 follows the one in float") {
  auto got = gpt_losses<bf16>(), want = gpt_losses<float>();
  CHECK(want.back() < 0.95 * want.front());
  CHECK(worst_distance(got, want) < bf16_distance);
}
