// Learns to tell malignant from benign tumours of the breast from 30 measurements of their cells: a table in CSV
// becomes tensors, a part of it trains a small network, and the rest says what the network is worth. With so few
// samples, chance decides about a percent of the accuracy, so that it is done with several parts.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "gradus/data/csv.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/data/split.hpp"
#include "gradus/data/standard_scaler.hpp"
#include "gradus/io/atomic_file.hpp"
#include "gradus/io/json.hpp"
#include "gradus/metrics/confusion_matrix.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/reduction/mean.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/loop.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string data = "data/breast-cancer/breast-cancer.csv", out = "runs/breast_cancer";
  uint64_t splits = 20;
};

constexpr auto help = R"(usage: breast_cancer [--data FILE] [--out DIR] [--quick]

  --data FILE   the table (data/breast-cancer/breast-cancer.csv)
  --out DIR     where summary.json goes (runs/breast_cancer)
  --quick       two splits into training and test samples instead of twenty: to see that it works
)";

/// Logits (n, 2) of the test samples after training on the others; x (., 30) and labels (.,).
Tensor<float> train_and_test(const Tensor<float>& train_x, const Tensor<int64_t>& train_y,
                             const Tensor<float>& test_x) {
  constexpr int epochs = 15;            // chosen by cross-validation within the training samples of the first split
  data::StandardScaler scale(train_x);  // learns from the training samples alone
  auto device = Device::best();
  models::Mlp<float> model({train_x.size(1), 16, 2});
  to(model, device);
  optim::AdamW adam(model, {.lr = 3e-3, .weight_decay = 0.1});
  data::Loader train(data::TensorDataset(scale(train_x), train_y),
                     {.batch_size = 32, .shuffle = true, .device = device});
  auto loss = [](const auto& logits, const auto& targets) { return cross_entropy(logits, targets); };
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    training::train_epoch(model, train, loss, adam, {.progress = {.show = training::Show::never}});
  }
  NoGradGuard no_grad;
  return model(scale(test_x).to(device)).to(Device::cpu());
}

int run(const Options& options) {
  manual_seed(1);
  std::filesystem::create_directories(options.out);

  auto table = data::read_csv(options.data);
  auto features = table.names_without({"diagnosis"});
  auto [labels, classes] = table.categories("diagnosis");              // (569,): 0 is benign, 1 malignant
  data::TensorDataset tumours(table.matrix<float>(features), labels);  // (569, 30) and (569,)

  metrics::ConfusionMatrix all(classes), guesses(classes);
  double squares = 0;
  for (uint64_t seed = 1; seed <= options.splits; ++seed) {
    auto parts = data::stratified_split(tumours, labels, 0.3, seed);
    auto [train_x, train_y] = data::whole_batch(parts.train);     // (398, 30) and (398,)
    auto [test_x, test_y] = data::whole_batch(parts.validation);  // (171, 30) and (171,)
    auto logits = train_and_test(train_x, train_y, test_x);       // (171, 2)
    auto accuracy = metrics::accuracy(logits, test_y);
    std::printf("split %2d  test accuracy %.1f %%\n", static_cast<int>(seed), 100 * accuracy);
    squares += accuracy * accuracy;
    all.update(logits, test_y);
    auto malignant = mean(cast<float>(train_y)).item();           // the share of the training samples
    guesses.update(full_like(test_y, malignant > 0.5f), test_y);  // always the more frequent class
  }
  auto n = static_cast<double>(options.splits), mean_accuracy = all.accuracy();
  auto deviation = std::sqrt((squares - n * mean_accuracy * mean_accuracy) / (n - 1));  // all splits are of one size
  std::cout << '\n' << metrics::report(all) << '\n' << to_string(all) << '\n';
  std::printf(
      "test accuracy %.1f %% (standard deviation of a split %.1f %%); always the more frequent class: %.1f %%\n",
      100 * mean_accuracy, 100 * deviation, 100 * guesses.accuracy());

  auto record = io::Json::object({{"data", options.data},
                                  {"samples", table.rows()},
                                  {"splits", options.splits},
                                  {"test_samples", all.total()},
                                  {"test_accuracy", mean_accuracy},
                                  {"standard_deviation", deviation},
                                  {"baseline_accuracy", guesses.accuracy()},
                                  {"malignant_recall", all.scores(1).recall}});
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  std::cout << options.out << ": summary.json\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("breast_cancer", help, argc, argv, [](training::Arguments& given) {
    Options options;
    given.read("--data", options.data);
    given.read("--out", options.out);
    if (given.flag("--quick")) options.splits = 2;
    given.finish();
    return run(options);
  });
}
