#include "gradus/train/loop.hpp"

#include "gradus/data/loader.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/product/matmul.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

/// x W^T, and a flag that tells in which mode it ran.
struct Line {
  Parameter<float> weight;
  Training training;
  GRADUS_FIELDS(weight, training)

  explicit Line(Tensor<float> start) : weight(std::move(start)) {}
  Tensor<float> operator()(const Tensor<float>& x) {
    (training.on ? trained : evaluated) += 1;
    recorded = grad_enabled();
    return matmul(x, transpose(weight.tensor()));
  }

  static inline int trained = 0, evaluated = 0;
  static inline bool recorded = false;
};

/// Two layers, one of them set to eval by its user.
struct Pair {
  Line first{zeros<float>({1, 1})}, second{zeros<float>({1, 1})};
  GRADUS_FIELDS(first, second)
  Tensor<float> operator()(const Tensor<float>& x) { return first(x) + second(x); }
};

struct PlainDescent {
  std::vector<Tensor<float>> weights;
  double rate;
  int steps = 0, cleared = 0;

  void step() {
    ++steps;
    no_grad([&] {
      for (auto& weight : weights) weight.copy_(weight - weight.grad() * rate);
    });
  }
  void zero_grad() {
    ++cleared;
    for (auto& weight : weights) weight.set_grad({});
  }
};

auto squared = [](const auto& output, const auto& target) { return mse_loss(output, target); };
auto entropy = [](const auto& output, const auto& target) { return cross_entropy(output, target); };

training::EpochOptions silent() { return {.progress = {.show = training::Show::never}}; }

}  // namespace

TEST_CASE("train_epoch: learns, one step a batch, and reports the weighted loss") {
  // y = 2 x on x = 1 1 1, in batches of 2 and 1, from w = 0 with rate 0.25: loss 4, w = 1; loss 1, w = 1.5.
  data::Loader loader(data::TensorDataset(ones<float>({3, 1}), full<float>({3, 1}, 2)), {.batch_size = 2});
  Line model(zeros<float>({1, 1}));
  PlainDescent descent{parameters(model), 0.25};
  int called = 0;
  auto options = silent();
  options.after_step = [&] { ++called; };
  auto result = training::train_epoch(model, loader, squared, descent, options);
  CHECK(result.loss == Approx((4.0 * 2 + 1.0) / 3));
  CHECK(result.samples == 3);
  CHECK(!result.accuracy.has_value());
  CHECK(result.seconds > 0);
  CHECK(model.weight.tensor().item() == Approx(1.5f));
  CHECK(descent.steps == 2);
  CHECK(descent.cleared == 2);
  CHECK(called == 2);
  for (int i = 0; i < 20; ++i) result = training::train_epoch(model, loader, squared, descent, silent());
  CHECK(result.loss < 1e-9);
}

TEST_CASE("train_epoch and evaluate: accuracy where there are classes") {
  auto points = tensor<float>({{1, 0}, {0, 1}, {1, 0}, {1, 0}});
  data::Loader loader(data::TensorDataset(points, tensor<int64_t>({0, 1, 0, 1})), {.batch_size = 3});
  Line model(eye<float>(2));
  auto result = training::evaluate(model, loader, entropy, silent());
  CHECK(result.accuracy.value() == 0.75);
  CHECK(result.samples == 4);
  CHECK(model.weight.tensor().to_vector() == std::vector<float>{1, 0, 0, 1});
  auto without = silent();
  without.accuracy = false;
  CHECK(!training::evaluate(model, loader, entropy, without).accuracy.has_value());
  PlainDescent descent{parameters(model), 0};
  CHECK(training::train_epoch(model, loader, entropy, descent, silent()).accuracy.value() == 0.75);
  CHECK(training::evaluate(model, data::Loader(data::TensorDataset(points, zeros<int64_t>({4}))), entropy, silent())
            .samples == 4);
}

TEST_CASE("train_epoch and evaluate: set the mode, and set it back, also after an error") {
  data::Loader loader(data::TensorDataset(ones<float>({2, 1}), ones<float>({2, 1})), {.batch_size = 2});
  Pair model;
  model.second.training.on = false;  // frozen by its user
  Line::trained = Line::evaluated = 0;
  training::evaluate(model, loader, squared, silent());
  CHECK(Line::evaluated == 2);
  CHECK(Line::trained == 0);
  CHECK(!Line::recorded);
  CHECK(grad_enabled());
  CHECK(model.first.training.on);
  CHECK(!model.second.training.on);

  PlainDescent descent{parameters(model), 0};
  training::train_epoch(model, loader, squared, descent, silent());
  CHECK(Line::trained == 2);
  CHECK(Line::recorded);
  CHECK(!model.second.training.on);

  auto failing = [](const auto&, const auto& target) -> Tensor<float> {
    require<ValueError>(target.numel() < 0, "no loss");
    return target;
  };
  CHECK_THROWS_AS(training::evaluate(model, loader, failing, silent()), ValueError);
  CHECK(model.first.training.on);
  CHECK(!model.second.training.on);
  CHECK(grad_enabled());
}

TEST_CASE("train_epoch: a model of several inputs, any range of batches, and the bar's text") {
  struct Sum {
    Tensor<float> operator()(const Tensor<float>& a, const Tensor<float>& b) const { return a + b; }
  } sum;
  std::vector<std::tuple<Tensor<float>, Tensor<float>, Tensor<float>>> batches;
  batches.emplace_back(ones<float>({2, 1}), ones<float>({2, 1}), full<float>({2, 1}, 2.5f));
  std::string text;
  auto options = silent();
  options.progress = {.title = "test",
                      .unit = "rows",
                      .show = training::Show::lines,
                      .write = [&](const std::string& part) { text += part; },
                      .clock = [] { return 1.0; },
                      .terminal = false};
  auto result = training::evaluate(sum, batches, squared, options);
  CHECK(result.loss == Approx(0.25));
  CHECK(text == "test  2/1 rows  0 s  ? rows/s  loss 0.2500\n");
}
