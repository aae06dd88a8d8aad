// What tests of single ways on a card share: which kernels ran, and whether a small GPT learns.
#pragma once

#include <string>
#include <vector>

#include "gradus/gradus.hpp"

#if defined(GRADUS_CUDA)
#include "tests/support/hashed.hpp"

namespace gradus::test {

/// How often kernels ran whose names hold this; those of libraries are called "library".
inline int64_t launches_of(const std::vector<cuda::KernelTime>& times, const std::string& kernel) {
  int64_t count = 0;
  for (const auto& time : times)
    if (time.kernel.find(kernel) != std::string::npos) count += time.count;
  return count;
}

/// While it lives LSTM and GRU go by cuDNN, if it is `on`.
struct RecurrentByCudnnGuard {
  explicit RecurrentByCudnnGuard(bool on = true) { cuda::use_cudnn_recurrent(on); }
  ~RecurrentByCudnnGuard() { cuda::use_cudnn_recurrent(false); }
};

struct GptSteps {
  double lr;
  int count;
  bool captured = false;
};
/// Losses of steps with AdamW on 4 x 13 ids, always the same.
template <Floating T>
std::vector<double> gpt_losses(models::Gpt<T> model, Device device, const GptSteps& steps) {
  to(model, device);
  optim::AdamW<T> adam(model, {.lr = steps.lr});
  auto vocabulary = model.options.vocabulary;
  auto ids = reshape(hashed_labels(1, 4 * 13, vocabulary), {4, 13}).to(device);
  auto from = slice(ids, 1, 0, 12).clone(), next = flatten(slice(ids, 1, 1, 13).clone(), 0);
  auto step = [&] {
    auto loss = cross_entropy(flatten(model(from), 0, 1), next);
    loss.backward();
    adam.step();
    adam.zero_grad();
    return loss.detach();
  };
  std::vector<double> losses;
  auto keep = [&](auto&& one) {
    for (int i = 0; i < steps.count; ++i)
      losses.push_back(static_cast<double>(static_cast<float>(one().to(Device::cpu()).item())));
  };
  if (steps.captured) keep(capture(device, step));
  else keep(step);
  return losses;
}

}  // namespace gradus::test
#endif
