// What NVIDIA's real compiler and cuDNN say of Gradus's GPU work on a machine without a GPU:
// gpu_plans <folder of kernels' texts and graphs> <null driver>; without arguments it tells what there is to ask.
// The graphs that the tests leave are planned for one card each, in turn; with GRADUS_PLANS=all for every card.
// Ends with `kernels: N, architectures: N, plans: N, cards: N, failed: N`. 77: there is nobody to ask.
#include "tests/cuda/plans/plans.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "gradus/device/cuda/cudnn.hpp"

namespace {
std::atomic<int> failed{0};
}

void gradus::test::fail(const std::string& what) {
  static std::mutex printing;
  std::lock_guard lock(printing);
  std::printf("FAILED: %s\n", what.c_str());
  ++failed;
}

int main(int argc, char** argv) {
  using namespace gradus::test;
  if (argc != 1 && argc != 3) {
    std::puts("gpu_plans <folder of kernels' texts and graphs> <null driver>");
    return 2;
  }
  std::error_code none;
  try {
    auto version = gradus::cuda::detail::Nvrtc::get().version_number();
    if (argc == 1) {
      const auto* cudnn = gradus::cuda::detail::Cudnn::find();
      std::printf("libnvrtc %d.%d, cuDNN %zu\n", version / 100, version % 100, cudnn != nullptr ? cudnn->version() : 0);
      return 0;
    }
  } catch (const gradus::Error& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  const std::string folder = argv[1];
  if (!std::filesystem::is_directory(folder, none)) {
    std::printf("skipped: %s is not there; the simulated card's tests make it\n", argv[1]);
    return 77;
  }
  // cuDNN looks for a driver, and finds this one open.
  if (::dlopen(argv[2], RTLD_NOW | RTLD_GLOBAL) == nullptr) fail(::dlerror());
  const auto* asked = std::getenv("GRADUS_PLANS");
  auto all_pairs = asked != nullptr && std::string(asked) == "all";
  int plans = 0, cards = 0, kernels = 0, recurrent = 0;
  auto guarded = [](auto&& body) {
    try {
      body();
    } catch (const std::exception& error) {
      fail(error.what());
    }
  };
  std::thread planner([&] {
    guarded([&] { plans = check_plans(folder, all_pairs, cards); });
    guarded([&] { recurrent = check_recurrent(); });
  });
  guarded([&] { kernels = check_kernels(folder); });
  planner.join();
  if (kernels == 0) fail("the folder holds no kernels' texts");
  std::printf("%d recurrent layers described to cuDNN\n", recurrent);
  std::printf("kernels: %d, architectures: %d, plans: %d, cards: %d, failed: %d\n", kernels,
              static_cast<int>(std::size(card_architectures)), plans, cards, failed.load());
  return failed == 0 ? 0 : 1;
}
