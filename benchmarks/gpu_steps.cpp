// Training steps on a GPU, timed from the host over many steps: one line of a Markdown table a model. The same steps in
// PyTorch: gpu_steps.py.
#include <chrono>
#include <cstdio>

#include "gradus/gradus.hpp"

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

template <Floating T, class Model, class Loss>
void time_model(const char* name, Device device, int steps, Model model, Loss&& loss_of) {
  to(model, device);
  optim::AdamW<T> adam(model, {.lr = 1e-4});
  auto time = milliseconds(device, steps, [&] {
    auto loss = loss_of(model);
    loss.backward();
    adam.step();
    adam.zero_grad();
  });
  std::printf("| %s | %.3f |\n", name, time);
  std::fflush(stdout);
}

}  // namespace

int main() {
  auto device = Device::best();
  std::printf("| step on %s | Gradus, ms |\n| --- | --- |\n", to_string(device).c_str());
  auto labels = randint<int64_t>(0, 10, {128}).to(device);
  auto flat = randn<float>({128, 784}).to(device), images = randn<float>({128, 1, 28, 28}).to(device);
  auto classify = [&](const auto& x) { return [&](auto& model) { return cross_entropy(model(x), labels); }; };
  time_model<float>("MLP 784-512-512-10, batch 128", device, 200, models::Mlp<float>({784, 512, 512, 10}),
                    classify(flat));
  time_model<float>("LeNet, batch 128", device, 100, models::LeNet<float>(), classify(images));
  auto ids = randint<int64_t>(0, 50257, {8, 1025}).to(device);
  auto inputs = slice(ids, 1, 0, 1024).clone(), next = flatten(slice(ids, 1, 1, 1025).clone(), 0);
  models::GptOptions small{.vocabulary = 50304, .context = 1024, .layers = 12, .heads = 12, .width = 768, .dropout = 0};
  time_model<bf16>("GPT-2 124M in bf16, 8 x 1,024 tokens", device, 5, models::Gpt<bf16>(small),
                   [&](auto& model) { return cross_entropy(flatten(model(inputs), 0, 1), next); });
  if (!device.is_cpu()) {
#if defined(GRADUS_CUDA)
    std::printf("\nPeak memory of the card: %.2f GB\n", static_cast<double>(cuda::stats(device).peak_bytes) / 1e9);
#endif
  }
}
