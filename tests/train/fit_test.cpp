#include "gradus/train/fit.hpp"

#include <thread>

#include "gradus/data/loader.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;
using test::check_error, test::TemporaryFolder;

namespace {

struct Classifier {
  nn::Linear<float> hidden{2, 16};
  nn::Dropout drop{0.1};
  nn::Linear<float> output{16, 2};
  GRADUS_FIELDS(hidden, drop, output)

  Tensor<float> operator()(const Tensor<float>& x) const { return output(drop(relu(hidden(x)))); }
};

auto class_loss = [](const auto& logits, const auto& labels) { return cross_entropy(logits, labels); };

/// Points inside and outside a circle.
data::TensorDataset<float, int64_t> circle(uint64_t seed, int64_t count) {
  auto before = default_generator();
  manual_seed(seed);
  auto points = randn<float>({count, 2});
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < count; ++i)
    labels.push_back(points(i, 0) * points(i, 0) + points(i, 1) * points(i, 1) < 1.4f ? 1 : 0);
  default_generator() = before;
  return data::TensorDataset<float, int64_t>(points, from_vector(std::move(labels), {count}));
}

/// A training that can be stopped and resumed, and what it came to.
struct FitRun {
  Classifier model;
  optim::AdamW<float> adam{model, {.lr = 0.02}};
  Device device = test::tested_device();
  data::Loader<data::TensorDataset<float, int64_t>> train{circle(1, 100),
                                                          {.batch_size = 16, .shuffle = true, .device = device}};
  data::Loader<data::TensorDataset<float, int64_t>> test{circle(2, 60), {.batch_size = 60, .device = device}};
  training::History history;

  explicit FitRun(uint64_t seed = 3) : model((manual_seed(seed), Classifier())) { to(model, device); }
  void fit(training::FitOptions options) {
    options.progress.show = training::Show::never;
    history = training::fit(model, train, test, class_loss, adam, options);
  }
  std::vector<float> weights() const { return model.hidden.weight.tensor().to_vector(); }
};

std::vector<double> numbers_of(const training::History& history) {  // all but the seconds
  std::vector<double> result;
  for (const auto& record : history.epochs) {
    for (auto number : {static_cast<double>(record.epoch), record.train.loss, record.train.accuracy.value(),
                        static_cast<double>(record.train.samples), record.validation.value().loss,
                        record.validation.value().accuracy.value(), record.lr})
      result.push_back(number);
    result.insert(result.end(), record.metrics.begin(), record.metrics.end());
  }
  return result;
}

}  // namespace

TEST_CASE("fit: learns, and records each epoch", "[gpu]") {
  FitRun training;
  int64_t before = 0, after = 0;
  std::vector<int> epochs;
  training.fit({.epochs = 30,
                .schedule = optim::cosine({.steps = 210, .warmup = 10}),
                .metrics = {{"steps so far", [&] { return static_cast<double>(after); }}},
                .before_step = [&] { ++before; },
                .after_step = [&](int64_t step) { CHECK(step == ++after); },
                .after_epoch = [&](const training::EpochRecord& record) { epochs.push_back(record.epoch); }});
  CHECK(before == 210);
  CHECK(after == 210);
  CHECK(epochs.size() == 30);
  const auto& history = training.history;
  REQUIRE(history.epochs.size() == 30);
  CHECK(history.epochs[29].validation.value().accuracy.value() > 0.85);
  CHECK(history.epochs[29].train.loss < history.epochs[0].train.loss / 2);
  CHECK(history.epochs[4].metrics == std::vector<double>{35});
  CHECK(history.epochs[0].train.samples == 100);
  CHECK(history.epochs[29].lr == Approx(0.02 * optim::cosine({.steps = 210, .warmup = 10})(209)));
  CHECK(history.best_epoch > 5);
  CHECK(!history.stopped_early);
  CHECK(!history.cancelled);
  CHECK(!history.resumed);
}

TEST_CASE("fit: without a schedule the rate is its user's", "[gpu]") {
  FitRun training;
  training.fit({.epochs = 3, .after_epoch = [&](const training::EpochRecord& record) {
                  training.adam.set_lr(0.02 / (1 + record.epoch));
                }});
  CHECK(training.history.epochs[0].lr == 0.02);
  CHECK(training.history.epochs[1].lr == 0.01);
  CHECK(training.adam.lr() == 0.005);
}

TEST_CASE("fit: without validation, and a record as a line", "[gpu]") {
  FitRun training;
  auto history = training::fit(training.model, training.train, class_loss, training.adam,
                               {.epochs = 2, .progress = {.show = training::Show::never}});
  CHECK(history.epochs.size() == 2);
  CHECK(!history.epochs[0].validation);
  training::EpochRecord record{3, {0.5, 0.75, 10, 1.25}, training::EpochResult{0.25, {}, 5, 0}, 0.1, {}};
  CHECK(to_string(record) == "epoch 3  loss 0.5000  accuracy 75.00 %   validation loss 0.2500   1.2 s");
}

TEST_CASE("fit: stops early and gives the best weights back", "[gpu]") {
  FitRun training;
  std::vector<std::vector<float>> weights;
  auto worse_from_4 = [&] {
    weights.push_back(training.weights());
    auto epoch = static_cast<double>(weights.size());
    return epoch <= 4 ? epoch : 4 - 0.1 * epoch;
  };
  training.fit({.epochs = 50,
                .metrics = {{"made up", worse_from_4}},
                .early_stopping = {.patience = 3, .monitor = "made up", .higher_is_better = true}});
  CHECK(training.history.epochs.size() == 7);
  CHECK(training.history.best_epoch == 4);
  CHECK(training.history.stopped_early);
  CHECK(training.weights() == weights[3]);
  CHECK(weights[3] != weights[6]);

  FitRun kept;
  weights.clear();
  auto nan_first = [&] { return weights.push_back(kept.weights()), weights.size() == 1 ? NAN : 1.0; };
  kept.fit({.epochs = 50,
            .metrics = {{"made up", nan_first}},
            .early_stopping = {.patience = 2, .monitor = "made up", .restore_best = false}});
  CHECK(kept.history.best_epoch == 2);
  CHECK(kept.history.epochs.size() == 4);
  CHECK(kept.weights() == weights[3]);
}

TEST_CASE("fit: stopped anywhere and resumed, it ends with the bits and the history of an unbroken run", "[gpu]") {
  TemporaryFolder folder;
  auto options = [](training::Checkpoint* checkpoint) {
    training::FitOptions result{.epochs = 4, .schedule = optim::cosine({.steps = 28, .warmup = 3})};
    result.early_stopping = {.patience = 2};
    result.checkpoint = checkpoint;
    result.checkpoint_seconds = 0;  // after each step
    return result;
  };
  training::Checkpoint unbroken_file(folder / "unbroken");
  FitRun unbroken;
  unbroken.fit(options(&unbroken_file));
  for (int64_t stop : {1, 3, 7, 8, 13, 14, 27}) {
    INFO("stopped after step " << stop);
    auto path = folder / ("run" + std::to_string(stop));
    FitRun broken;
    training::Checkpoint broken_file(path);
    auto stopping = options(&broken_file);
    stopping.after_step = [&](int64_t step) {
      if (step == stop + 1) throw ValueError("power failure");  // this step is lost
    };
    CHECK_THROWS_AS(broken.fit(stopping), ValueError);
    training::Checkpoint resumed_file(path);
    FitRun resumed(77);
    resumed.fit(options(&resumed_file));
    CHECK(resumed.history.resumed);
    CHECK(numbers_of(resumed.history) == numbers_of(unbroken.history));
    CHECK(resumed.weights() == unbroken.weights());
    CHECK(resumed.history.best_epoch == unbroken.history.best_epoch);
  }
  training::Checkpoint again_file(folder / "unbroken");  // a finished run has nothing left to do
  FitRun again(5);
  again.fit(options(&again_file));
  CHECK(numbers_of(again.history) == numbers_of(unbroken.history));
  CHECK(again.weights() == unbroken.weights());
}

TEST_CASE("fit: cancelled by another thread it saves, and goes on later", "[gpu]") {
  TemporaryFolder folder;
  FitRun unbroken;
  unbroken.fit({.epochs = 3});
  std::atomic<bool> cancel = false;
  FitRun stopped;
  training::Checkpoint file(folder / "run");
  int64_t last = 0;
  stopped.fit({.epochs = 3, .checkpoint = &file, .cancel = &cancel, .after_step = [&](int64_t step) {
                 last = step;
                 if (step == 9) std::thread([&] { cancel = true; }).join();
               }});
  CHECK(last == 9);
  CHECK(stopped.history.cancelled);
  CHECK(!stopped.history.stopped_early);
  CHECK(stopped.history.epochs.size() == 1);
  FitRun resumed(8);
  training::Checkpoint again(folder / "run");
  resumed.fit({.epochs = 3, .checkpoint = &again});
  CHECK(numbers_of(resumed.history) == numbers_of(unbroken.history));
  CHECK(resumed.weights() == unbroken.weights());
}

namespace {

/// In half precision, with a loss in float.
struct HalfClassifier {
  nn::Linear<f16> hidden{2, 16}, output{16, 2};
  GRADUS_FIELDS(hidden, output)

  Tensor<float> operator()(const Tensor<float>& x) const { return cast<float>(output(relu(hidden(cast<f16>(x))))); }
};

/// A training in f16 whose scale grows every ten steps until something overflows.
struct HalfRun {
  HalfClassifier model;
  optim::AdamW<f16> adam{model, {.lr = 0.02}};
  optim::LossScaler scaler{{.growth_interval = 10}};
  data::Loader<data::TensorDataset<float, int64_t>> train{
      circle(1, 100), {.batch_size = 16, .shuffle = true, .device = test::tested_device()}};
  training::History history;

  explicit HalfRun(uint64_t seed = 3) : model((manual_seed(seed), HalfClassifier())) {
    to(model, test::tested_device());
  }
  void fit(training::FitOptions options) {
    options.progress.show = training::Show::never;
    options.scaler = &scaler;
    history = training::fit(model, train, class_loss, adam, options);
  }
  std::vector<float> weights() const {
    return cast<float>(model.hidden.weight.tensor().detach().to(Device::cpu())).to_vector();
  }
  std::vector<double> scalings() const {
    std::vector<double> numbers{scaler.scale()};
    for (const auto& record : history.epochs) {
      const auto& scaling = record.train.scaling.value();
      numbers.insert(numbers.end(),
                     {record.train.loss, scaling.before, scaling.after, static_cast<double>(scaling.left_out)});
    }
    return numbers;
  }
};

}  // namespace

TEST_CASE("fit: half precision with a loss scaler does what the loop by hand does, and says so", "[gpu]") {
  HalfRun by_fit, by_epoch, by_hand;
  by_fit.fit({.epochs = 20, .before_step = [&] { by_fit.scaler.clip_grad_norm(by_fit.model, 2.0); }});
  manual_seed(3), HalfClassifier();  // as many random numbers are drawn
  std::vector<training::LossScaling> scalings;
  for (int epoch = 0; epoch < 20; ++epoch) {
    auto result = training::train_epoch(by_epoch.model, by_epoch.train, class_loss, by_epoch.adam,
                                        {.progress = {.show = training::Show::never},
                                         .before_step = [&] { by_epoch.scaler.clip_grad_norm(by_epoch.model, 2.0); },
                                         .scaler = &by_epoch.scaler});
    scalings.push_back(result.scaling.value());
  }
  manual_seed(3), HalfClassifier();
  int64_t left_out = 0;
  for (int epoch = 0; epoch < 20; ++epoch) {
    for (auto& [x, labels] : by_hand.train) {
      by_hand.scaler.scale(class_loss(by_hand.model(x), labels)).backward();
      by_hand.scaler.clip_grad_norm(by_hand.model, 2.0);
      left_out += by_hand.scaler.step(by_hand.adam) ? 0 : 1;
      by_hand.adam.zero_grad();
    }
  }
  CHECK(left_out > 0);
  CHECK(by_fit.weights() == by_hand.weights());
  CHECK(by_epoch.weights() == by_hand.weights());
  CHECK(by_fit.scaler.scale() == by_hand.scaler.scale());
  int64_t counted = 0;
  double scale = 65536;
  for (size_t i = 0; i < 20; ++i) {
    const auto& record = by_fit.history.epochs[i];
    const auto& scaling = record.train.scaling.value();
    counted += scaling.left_out;
    CHECK(scaling.before == scale);
    CHECK(scalings[i].after == scaling.after);
    CHECK((to_string(record).find("loss scale") != std::string::npos) ==
          (scaling.before != scaling.after || scaling.left_out > 0));
    scale = scaling.after;
  }
  CHECK(scale == by_hand.scaler.scale());
  CHECK(counted == left_out);
  CHECK(by_fit.history.epochs[19].train.loss < by_fit.history.epochs[0].train.loss);
}

TEST_CASE("fit: with a loss scaler, stopped anywhere and resumed, it ends with the bits of an unbroken run", "[gpu]") {
  TemporaryFolder folder;
  HalfRun unbroken;
  unbroken.fit({.epochs = 8});
  for (int64_t stop : {3, 7, 30, 54}) {
    INFO("stopped after step " << stop);
    HalfRun broken, resumed(77);
    training::Checkpoint file(folder / ("run" + std::to_string(stop))), again(folder / ("run" + std::to_string(stop)));
    manual_seed(3), HalfClassifier();
    auto fails = [&](int64_t step) {
      if (step == stop + 1) throw ValueError("power failure");
    };
    CHECK_THROWS_AS(broken.fit({.epochs = 8, .checkpoint = &file, .checkpoint_seconds = 0, .after_step = fails}),
                    ValueError);
    resumed.fit({.epochs = 8, .checkpoint = &again});
    CHECK(resumed.history.resumed);
    CHECK(resumed.weights() == unbroken.weights());
    CHECK(resumed.scalings() == unbroken.scalings());
  }
}

TEST_CASE("fit: what became of the scale of losses, as text") {
  CHECK(to_string(training::LossScaling{8, 8, 0}) == "");
  CHECK(to_string(training::LossScaling{65536, 32768, 1}) == "loss scale 65536 -> 32768, 1 step left out");
  CHECK(to_string(training::LossScaling{8, 16, 0}) == "loss scale 8 -> 16");
  CHECK(to_string(training::LossScaling{8, 8, 2}) == "loss scale 8, 2 steps left out");
  training::EpochRecord record{3, {0.5, {}, 10, 1.25, training::LossScaling{8, 4, 1}}, {}, 0.1, {}};
  CHECK(to_string(record) == "epoch 3  loss 0.5000   1.2 s   loss scale 8 -> 4, 1 step left out");
}

TEST_CASE("fit: what cannot be is refused", "[gpu]") {
  FitRun training;
  check_error<ValueError>([&] { training.fit({.epochs = -1}); }, "fit: -1 epochs, but must not be negative");
  check_error<ValueError>([&] { training.fit({.epochs = 1, .early_stopping = {.patience = 1, .monitor = "f1"}}); },
                          "fit: 'f1' is to be monitored, but is neither loss, accuracy nor a metric");
}
