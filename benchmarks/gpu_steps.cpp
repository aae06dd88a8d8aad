// Training steps on a GPU, timed from the host over many steps: one line of a Markdown table a model. The same steps in
// PyTorch: gpu_steps.py.
#include <chrono>
#include <cstdio>

#include "gradus/gradus.hpp"

#include "roofline.hpp"

using namespace gradus;

namespace {

/// Median milliseconds of a step over five rounds, after a first round that compiles and warms up.
template <class Step>
double milliseconds(Device device, int steps, Step&& step) {
  std::vector<double> rounds;
  for (int round = 0; round < 6; ++round) {
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < steps; ++i) step();
    full<float>({}, 0, device).item();  // waits for the GPU
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (round > 0) rounds.push_back(1e3 * seconds / steps);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

/// What to time, from the command line.
struct Choice {
  std::string only;       ///< models whose names contain this
  bool profile = false;   ///< tells what the kernels of a step take
  bool captured = false;  ///< steps are captured and replayed
  bool roofline = false;  ///< nothing is timed: what a card needs at least
};

template <Floating T, class Model, class Loss>
void time_model(const Choice& choice, const std::string& name, Device device, int steps, const Model& made,
                Loss&& loss_of) {
  if (name.find(choice.only) == std::string::npos) return;
  auto model = made();
  to(model, device);
  optim::AdamW<T> adam(model, {.lr = 1e-4});
  auto plain = [&] {
    auto loss = loss_of(model);
    loss.backward();
    adam.step();
    adam.zero_grad();
  };
#if defined(GRADUS_CUDA)
  if (choice.roofline) {
    cuda::reset_peak(device);
    auto table = roofline::table(device, plain);
    std::printf("%s, at most %.1f GB in use:\n\n%s\n", name.c_str(),
                static_cast<double>(cuda::stats(device).peak_bytes) / 1e9, table.c_str());
    return;
  }
#endif
  auto captured = capture(device, plain, choice.captured ? 2 : 1 << 30);
  auto step = [&] { captured(); };
  try {
    auto begin = std::chrono::steady_clock::now();
    step();
    full<float>({}, 0, device).item();
    auto first = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    auto time = milliseconds(device, steps, step);
    double peak = 0;
#if defined(GRADUS_CUDA)
    if (!device.is_cpu()) peak = static_cast<double>(cuda::stats(device).peak_bytes) / 1e9;
#endif
    std::printf("| %s | %.3f | %.2f | %.2f |\n", name.c_str(), time, peak, first);
#if defined(GRADUS_CUDA)
    if (choice.profile && !device.is_cpu()) std::printf("\n%s\n", to_table(cuda::profile(device, plain)).c_str());
    if (!device.is_cpu()) cuda::reset_peak(device);
#endif
  } catch (const std::exception& error) {
    std::printf("| %s | %s |\n", name.c_str(), error.what());
  }
  std::fflush(stdout);
}

}  // namespace

/// gpu_steps [--profile] [--capture] [--autotune] [--fuse-tails] [--tf32] [--fp8] [--cudnn-rnn] [part of a model's
/// name], or gpu_steps --roofline <the simulated card's folder> <its peaks> [part of a model's name]: see roofline.hpp.
int main(int argc, char** argv) {
  Choice choice;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--profile") choice.profile = true;
    else if (std::string(argv[i]) == "--capture") choice.captured = true;
#if defined(GRADUS_CUDA)
    else if (std::string(argv[i]) == "--autotune") cuda::autotune_products();
    else if (std::string(argv[i]) == "--fuse-tails") cuda::fuse_tails();
    else if (std::string(argv[i]) == "--tf32") cuda::allow_tf32();
    else if (std::string(argv[i]) == "--fp8") cuda::use_fp8();
    else if (std::string(argv[i]) == "--cudnn-rnn") cuda::use_cudnn_recurrent();
    else if (std::string(argv[i]) == "--roofline" && i + 2 < argc) {
      roofline::use(argv[i + 1], argv[i + 2]);
      choice.roofline = true;
      i += 2;
    }
#endif
    else
      choice.only = argv[i];
  }
  auto device = Device::best();
  if (!choice.roofline)
    std::printf("| step on %s | Gradus, ms | peak, GB | first step, s |\n| --- | ---: | ---: | ---: |\n",
                to_string(device).c_str());
  auto classify = [&](const auto& x, const auto& labels) {
    return [&](auto& model) { return cross_entropy(model(x), labels); };
  };
  auto labels = randint<int64_t>(0, 10, {256}).to(device);
  auto few = slice(labels, 0, 0, 128).clone();
  auto flat = randn<float>({128, 784}).to(device), images = randn<float>({128, 1, 28, 28}).to(device);
  time_model<float>(
      choice, "MLP 784-512-512-10, batch 128", device, 200,
      [] {
        return models::Mlp<float>({784, 512, 512, 10});
      },
      classify(flat, few));
  time_model<float>(
      choice, "LeNet, batch 128", device, 100, [] { return models::LeNet<float>(); }, classify(images, few));
  auto series = randn<float>({64, 90, 512}).to(device), target = randn<float>({64, 14}).to(device);
  time_model<float>(
      choice, "LSTM 512 -> 2 x 512, 90 steps, batch 64", device, 5,
      [] { return models::LstmForecaster<float>(512, 14, {.hidden = 512, .layers = 2}); },
      [&](auto& model) { return mse_loss(model(series), target); });
  for (int64_t batch : {8, 32, 64}) {
    models::GptOptions small{
        .vocabulary = 50304, .context = 1024, .layers = 12, .heads = 12, .width = 768, .dropout = 0};
    auto ids = randint<int64_t>(0, 50257, {batch, 1025}).to(device);
    auto inputs = slice(ids, 1, 0, 1024).clone(), next = slice(ids, 1, 1, 1025).clone();
    time_model<bf16>(
        choice, join("GPT-2 124M in bf16, ", batch, " x 1,024 tokens"), device, 5,
        [&] { return models::Gpt<bf16>(small); }, [&](auto& model) { return model.loss(inputs, next); });
  }
  auto photographs = cast<bf16>(randn<float>({256, 3, 224, 224}).to(device));
  time_model<bf16>(
      choice, "ResNet-50 in bf16, batch 256", device, 5,
      [] {
        return models::ResNet<bf16>({.blocks = {3, 4, 6, 3}, .bottleneck = true});
      },
      classify(photographs, labels));
}
