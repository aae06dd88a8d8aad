// The demo's trainer written against LibTorch's headers: for the time it takes to compile, never linked or run.
#include <torch/torch.h>

#include <iomanip>
#include <iostream>

namespace nn = torch::nn;

struct LeNet : nn::Module {
  nn::Conv2d conv1{nullptr}, conv2{nullptr};
  nn::Linear hidden{nullptr}, output{nullptr};

  LeNet() {
    conv1 = register_module("conv1", nn::Conv2d(nn::Conv2dOptions(1, 32, 3).padding(1)));
    conv2 = register_module("conv2", nn::Conv2d(nn::Conv2dOptions(32, 64, 3).padding(1)));
    hidden = register_module("hidden", nn::Linear(64 * 7 * 7, 128));
    output = register_module("output", nn::Linear(128, 10));
  }

  torch::Tensor forward(const torch::Tensor& images) {                   // (n, 1, 28, 28)
    auto x = torch::max_pool2d(torch::relu(conv1->forward(images)), 2);  // (n, 32, 14, 14)
    x = torch::max_pool2d(torch::relu(conv2->forward(x)), 2);            // (n, 64, 7, 7)
    return output->forward(torch::relu(hidden->forward(x.flatten(1))));  // (n, 10)
  }
};

template <class Loader>
void train_epoch(LeNet& model, Loader& loader, torch::optim::Optimizer& optimizer, int epoch) {
  model.train();
  double total = 0;
  int64_t count = 0;
  for (auto& batch : loader) {
    auto loss = torch::nn::functional::cross_entropy(model.forward(batch.data), batch.target);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    total += loss.template item<double>() * static_cast<double>(batch.data.size(0));
    count += batch.data.size(0);
    std::cout << "\repoch " << epoch << "  loss " << std::setprecision(4) << total / static_cast<double>(count)
              << std::flush;
  }
}

/// Prints accuracy and the confusion matrix.
template <class Loader>
double evaluate(LeNet& model, Loader& loader) {
  torch::NoGradGuard guard;
  model.eval();
  auto confusion = torch::zeros({10, 10}, torch::kLong);
  for (auto& batch : loader) {
    auto predicted = model.forward(batch.data).argmax(1);
    for (int64_t i = 0; i < predicted.size(0); ++i)
      confusion[batch.target[i].template item<int64_t>()][predicted[i].template item<int64_t>()] += 1;
  }
  auto accuracy = confusion.diag().sum().item<double>() / confusion.sum().item<double>();
  std::cout << '\n' << confusion << "\naccuracy " << accuracy << '\n';
  return accuracy;
}

int main(int argc, char** argv) {
  torch::manual_seed(1);
  const std::string folder = argc > 1 ? argv[1] : "data";
  using torch::data::datasets::MNIST;
  auto prepare = [&](MNIST::Mode mode) {
    return MNIST(folder, mode)
        .map(torch::data::transforms::Normalize<>(0.286, 0.353))
        .map(torch::data::transforms::Stack<>());
  };
  auto train = torch::data::make_data_loader<torch::data::samplers::RandomSampler>(
      prepare(MNIST::Mode::kTrain), torch::data::DataLoaderOptions().batch_size(128).workers(1));
  auto test = torch::data::make_data_loader<torch::data::samplers::SequentialSampler>(prepare(MNIST::Mode::kTest), 256);
  auto model = std::make_shared<LeNet>();
  torch::optim::AdamW adam(model->parameters(), torch::optim::AdamWOptions(1e-3));
  for (int epoch = 1; epoch <= 5; ++epoch) {
    train_epoch(*model, *train, adam, epoch);
    evaluate(*model, *test);
  }
  torch::save(model, "lenet.pt");
  auto loaded = std::make_shared<LeNet>();
  torch::load(loaded, "lenet.pt");
  return evaluate(*loaded, *test) > 0.9 ? 0 : 1;
}
