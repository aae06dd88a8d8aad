// The Gradus side of `./run compare`: trains one workload from given weights on given batches, a few steps at a time.
//
//   gradus_compare <workload> <threads> <folder>
//
// The folder holds <workload>.weights.safetensors and <workload>.batches.safetensors (x0, y0, x1, ...). Each line on
// standard input is a number of steps; the answer is one line of JSON with their milliseconds and losses.

#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>

#include "gradus/gradus.hpp"

using namespace gradus;

namespace {

using Step = std::function<float(int64_t)>;  // number of the step -> loss

/// Batches that are used in turn.
template <Element Label, Element Input = float>
struct Batches {
  std::vector<Tensor<Input>> inputs;
  std::vector<Tensor<Label>> targets;

  explicit Batches(const std::string& path) {
    auto file = io::SafeTensors::read(path);
    for (int i = 0; i < static_cast<int>(file.names().size()) / 2; ++i) {
      inputs.push_back(file.get<Input>("x" + std::to_string(i)));
      targets.push_back(file.get<Label>("y" + std::to_string(i)));
    }
  }
  size_t at(int64_t step) const { return static_cast<size_t>(step) % inputs.size(); }
};

template <Element Label, Element Input = float, class Model, class Loss>
Step training(Model made, const std::string& stem, Loss loss_of) {
  auto model = std::make_shared<Model>(std::move(made));
  io::load(stem + ".weights.safetensors", *model);
  auto adam = std::make_shared<optim::AdamW<float>>(*model, optim::AdamWOptions{.lr = 1e-4});
  auto batches = std::make_shared<Batches<Label, Input>>(stem + ".batches.safetensors");
  return [=](int64_t step) {
    auto i = batches->at(step);
    auto loss = loss_of((*model)(batches->inputs[i]), batches->targets[i]);
    loss.backward();
    adam->step();
    adam->zero_grad();
    return loss.item();
  };
}

Step add_with_gradient(const std::string& stem) {
  auto batches = std::make_shared<Batches<float>>(stem + ".batches.safetensors");
  auto a = batches->inputs[0], b = batches->targets[0];
  a.set_requires_grad();
  b.set_requires_grad();
  return [=](int64_t) mutable {
    auto y = sum(a + b);
    y.backward();
    a.set_grad({});
    b.set_grad({});
    return y.item();
  };
}

models::Gpt<float> small_gpt() {
  return models::Gpt<float>({.vocabulary = 4096, .context = 256, .layers = 6, .heads = 6, .width = 384, .dropout = 0});
}

/// Makes one token a step, always the likeliest, and begins again with the prompt every 120 steps.
Step decoding(models::Gpt<float> made, const std::string& stem) {
  auto model = std::make_shared<models::Gpt<float>>(std::move(made));
  io::load(stem + ".weights.safetensors", *model);
  eval(*model);
  auto prompt = Batches<int64_t, int64_t>(stem + ".batches.safetensors").inputs[0];
  auto cache = std::make_shared<nn::DecoderCache<float>>(model->make_cache());
  auto ids = prompt;
  return [=](int64_t step) mutable {
    NoGradGuard guard;
    if (step % 120 == 0) {
      cache->clear();
      ids = prompt;
    }
    auto logits = (*model)(ids, cache.get());  // (1, tokens, 4096)
    auto last = select(logits, 1, -1);         // (1, 4096)
    ids = argmax(last, 1, true);               // (1, 1)
    return max(last).item();
  };
}

Step make_step(const std::string& workload, const std::string& stem) {
  auto classes = [](const Tensor<float>& y, const Tensor<int64_t>& labels) { return cross_entropy(y, labels); };
  auto squares = [](const Tensor<float>& y, const Tensor<float>& target) { return mse_loss(y, target); };
  auto tokens = [](const Tensor<float>& y, const Tensor<int64_t>& labels) {
    return cross_entropy(flatten(y, 0, 1), flatten(labels, 0));
  };
  if (workload == "lenet") return training<int64_t>(models::LeNet<float>(), stem, classes);
  if (workload == "mlp") return training<int64_t>(models::Mlp<float>({784, 512, 512, 10}), stem, classes);
  if (workload == "deep_mlp")
    return training<float>(models::Mlp<float>({28, 300, 300, 300, 300, 300, 1}), stem, squares);
  if (workload == "resnet9") return training<int64_t>(models::ResNet9<float>(3, 10, 32), stem, classes);
  if (workload == "lstm") return training<float>(models::LstmForecaster<float>(16, 14), stem, squares);
  if (workload == "gpt") return training<int64_t, int64_t>(small_gpt(), stem, tokens);
  if (workload == "decode") return decoding(small_gpt(), stem);
  if (workload == "tiny_mlp") return training<float>(models::Mlp<float>({4, 8, 1}), stem, squares);
  if (workload == "add_4x4") return add_with_gradient(stem);
  throw ValueError("compare: there is no workload '" + workload + "'");
}

/// The most memory that this process held, from Linux's own account.
int64_t peak_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:" && status >> word) return std::stoll(word) / 1024;
  }
  return 0;
}

int run(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: gradus_compare <workload> <threads> <folder>\n";
    return 2;
  }
  set_num_threads(std::stoi(argv[2]));
  auto step = make_step(argv[1], std::string(argv[3]) + "/" + argv[1]);
  int64_t done = 0, allocations = 0;
  for (int64_t count = 0; std::cin >> count;) {
    auto before = memory_stats().system_allocations;
    std::string times, losses;
    for (int64_t i = 0; i < count; ++i, ++done) {
      auto start = std::chrono::steady_clock::now();
      auto loss = step(done);
      auto milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      times += (i > 0 ? "," : "") + join(milliseconds);
      losses += (i > 0 ? "," : "") + join(loss);
    }
    allocations = memory_stats().system_allocations - before;
    std::cout << "{\"ms\":[" << times << "],\"losses\":[" << losses << "],\"peak_mb\":" << peak_mb()
              << ",\"system_allocations\":" << allocations << "}" << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "gradus_compare: " << error.what() << '\n';
    return 1;
  }
}
