// Learns how many miles a car drives on a gallon from its weight, engine, year and origin (a regression), and draws how
// the errors fall while it learns.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "gradus/data/csv.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/data/split.hpp"
#include "gradus/data/standard_scaler.hpp"
#include "gradus/io/json.hpp"
#include "gradus/io/plot.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/reduction/mean.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/loop.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string data = "data/auto-mpg/auto-mpg.csv", out = "runs/auto_mpg";
  int epochs = 100;
};

constexpr auto help = R"(usage: auto_mpg [--data FILE] [--out DIR] [--quick]

  --data FILE   the table (data/auto-mpg/auto-mpg.csv)
  --out DIR     where curves.png and summary.json go (runs/auto_mpg)
  --quick       few epochs: to see that it works
)";

/// Root mean squared error.
double rmse(const Tensor<float>& predicted, const Tensor<float>& wanted) {
  return std::sqrt(static_cast<double>(mse_loss(predicted, wanted).item()));
}

int run(const Options& options) {
  manual_seed(1);
  std::filesystem::create_directories(options.out);

  auto table = data::read_csv(options.data);
  auto numbers = table.matrix<float>(table.names_without({"mpg", "origin", "name"}));        // (392, 6)
  auto [origin, origins] = table.categories("origin");                                       // (392,)
  auto one_hot = cast<float>(unsqueeze(origin, 1) == arange<int64_t>(std::ssize(origins)));  // (392, 3)
  auto mpg = unsqueeze(table.numbers<float>("mpg"), 1);                                      // (392, 1)
  data::TensorDataset cars(cat(std::vector{numbers, one_hot}, 1), mpg);
  auto outer = data::split(cars, 0.2, 1);  // the test part is seen once, at the end
  auto inner = data::split(outer.train, 0.25, 1);
  auto [train_x, train_y] = data::whole_batch(inner.train);                 // (235, 9) and (235, 1)
  auto [validation_x, validation_y] = data::whole_batch(inner.validation);  // (79, 9) and (79, 1)
  auto [test_x, test_y] = data::whole_batch(outer.validation);              // (78, 9) and (78, 1)
  data::StandardScaler scale_x(train_x), scale_y(train_y);                  // learn from the training part alone

  auto device = Device::best();
  models::Mlp<float> model({train_x.size(1), 32, 32, 1});
  to(model, device);
  optim::AdamW adam(model, {.lr = 3e-3, .weight_decay = 0.1});
  data::Loader train(data::TensorDataset(scale_x(train_x), scale_y(train_y)),
                     {.batch_size = 32, .shuffle = true, .device = device});
  auto loss = [](const auto& predicted, const auto& wanted) { return mse_loss(predicted, wanted); };
  auto predict = [&](const Tensor<float>& x) {
    NoGradGuard no_grad;
    return scale_y.inverse(model(scale_x(x).to(device)).to(Device::cpu()));  // (n, 9) -> (n, 1), miles per gallon
  };

  auto best = model;  // a model is a value: this keeps what the best epoch learned
  auto least = HUGE_VAL;
  std::vector<double> epochs, learned, validated;
  for (int epoch = 1; epoch <= options.epochs; ++epoch) {
    training::train_epoch(model, train, loss, adam, {.progress = {.show = training::Show::never}});
    epochs.push_back(epoch);
    learned.push_back(rmse(predict(train_x), train_y));
    validated.push_back(rmse(predict(validation_x), validation_y));
    if (validated.back() < least) {
      least = validated.back();
      best = model;
    }
    if (epoch % 25 == 0 || epoch == options.epochs)
      std::printf("epoch %3d  training %.2f  validation %.2f\n", epoch, learned.back(), validated.back());
  }
  model = best;

  auto mean_error = rmse(full_like(test_y, mean(train_y).item()), test_y), error = rmse(predict(test_x), test_y);
  std::printf("test error %.2f miles per gallon (root mean square, %lld cars); always the mean: %.2f\n", error,
              static_cast<long long>(test_y.numel()), mean_error);

  io::Plot plot({.title = "Fuel consumption of cars", .x_label = "epoch", .y_label = "error, miles per gallon"});
  auto baseline = rmse(full_like(validation_y, mean(train_y).item()), validation_y);
  plot.add("training", epochs, learned).add("validation", epochs, validated);
  plot.add("validation, always the mean", {1, epochs.back()}, {baseline, baseline});
  plot.write(options.out + "/curves.png");
  auto record = io::Json::object({{"data", options.data},
                                  {"samples", table.rows()},
                                  {"test_samples", test_y.numel()},
                                  {"test_rmse", error},
                                  {"baseline_rmse", mean_error},
                                  {"validation_rmse", least},
                                  {"epochs", options.epochs}});
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  std::cout << options.out << ": curves.png, summary.json\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("auto_mpg", help, argc, argv, [](training::Arguments& given) {
    Options options;
    given.read("--data", options.data);
    given.read("--out", options.out);
    if (given.flag("--quick")) options.epochs = 20;
    given.finish();
    return run(options);
  });
}
