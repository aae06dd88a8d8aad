// What a real card needs at least for a training step: the step runs on the simulated card, which computes nothing then
// but counts bytes and operations of each launch (tests/cuda/simulated/roofline.cpp).
#pragma once

#include "gradus/gradus.hpp"

#if defined(GRADUS_CUDA)
#include <dlfcn.h>

#include <cstdlib>

namespace roofline {

/// Before the first use of a card: `libraries` is the simulated card's folder, `peaks` its bytes a second and
/// operations a second in bf16, TF32, float and double. The kernels' texts are left in its folder `roofline`.
inline void use(const std::string& libraries, const std::string& peaks) {
  ::setenv("GRADUS_CUDA_LIBRARIES", libraries.c_str(), 1);
  ::setenv("GRADUS_KERNEL_CACHE", (libraries + "/roofline").c_str(), 1);
  ::setenv("GRADUS_KERNEL_TEXTS", "on", 1);
  ::setenv("GRADUS_SIMULATED_ROOFLINE", peaks.c_str(), 1);
  ::setenv("GRADUS_CUDA_POOL", "off", 1);  // so that the card knows each tensor
}

/// A line an operator and kernel of step(), the longest first, and their sum.
template <class Step>
std::string table(gradus::Device device, Step&& step) {
  auto* library = ::dlopen((std::string(std::getenv("GRADUS_CUDA_LIBRARIES")) + "/libcuda.so.1").c_str(), RTLD_NOW);
  auto* clock = reinterpret_cast<void (*)(int)>(::dlsym(library, "gradus_simulated_clock"));
  for (int i = 0; i < 2; ++i) step();
  std::map<std::pair<std::string, std::string>, std::array<double, 3>> found;  // milliseconds, GB, TFLOP
  std::vector<gradus::cuda::KernelTime> times;
  for (int unit : {1, 2, 0}) {
    clock(unit);
    times = gradus::cuda::profile(device, step);
    for (const auto& time : times) found[{time.op, time.kernel}][static_cast<size_t>(unit)] = time.milliseconds;
  }
  std::array<double, 3> sums{};
  int64_t launches = 0;
  for (const auto& time : times) launches += time.count;
  for (const auto& [names, numbers] : found)
    for (size_t i = 0; i < 3; ++i) sums[i] += numbers[i];
  std::string text =
      "| operator | kernel | launches | GB | TFLOP | at least, ms | share |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
  auto line = [&](const std::string& op, const std::string& kernel, int64_t count, const std::array<double, 3>& of) {
    char numbers[120];
    std::snprintf(numbers, sizeof(numbers), " | %lld | %.3f | %.3f | %.3f | %.1f %% |\n", static_cast<long long>(count),
                  of[1], of[2], of[0], 100 * of[0] / sums[0]);
    text += gradus::join("| ", op, " | ", kernel, numbers);
  };
  double rest_of[3] = {};
  int64_t rest = 0;
  for (const auto& time : times) {
    const auto& numbers = found[{time.op, time.kernel}];
    if (numbers[0] > sums[0] / 1000) {
      line(time.op, time.kernel, time.count, numbers);
      continue;
    }
    rest += time.count;
    for (size_t i = 0; i < 3; ++i) rest_of[i] += numbers[i];
  }
  line("all others", "", rest, {rest_of[0], rest_of[1], rest_of[2]});
  line("sum", "", launches, sums);
  return text;
}

}  // namespace roofline
#endif
