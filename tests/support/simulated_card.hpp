// With GRADUS_TEST_SIMULATED_CARD, a folder, a test program sees the simulated card that was built there, and tests
// what is about GPUs only.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

namespace gradus::test {

inline const bool sees_simulated_card = [] {
  const auto* folder = std::getenv("GRADUS_TEST_SIMULATED_CARD");
  if (folder == nullptr) return false;
  ::setenv("GRADUS_CUDA_LIBRARIES", folder, 1);
  ::setenv("GRADUS_TEST_ONLY_GPU", "1", 1);
  ::setenv("GRADUS_KERNEL_CACHE", (std::string(folder) + "/kernels").c_str(), 1);
  const auto* checks = std::getenv("GRADUS_SIMULATED_CHECKS");
  if (checks == nullptr || std::string(checks) != "address")
    ::setenv("GRADUS_KERNEL_TEXTS", "on", 1);  // ./run plans compiles them
  ::setenv("GRADUS_SIMULATED_CARDS", "2", 0);
  ::setenv("NVTX_INJECTION64_PATH", (std::string(folder) + "/libnvtx_tool.so").c_str(), 0);
  // A real cuDNN beside a simulated driver would only fail.
  if (::access((std::string(folder) + "/libcudnn.so.9").c_str(), F_OK) != 0) ::setenv("GRADUS_CUDNN", "off", 1);
  return true;
}();

}  // namespace gradus::test
