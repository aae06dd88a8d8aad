// NVIDIA's run-time compiler, if this machine has it: found when the tests run, never linked.
#pragma once

#include <optional>
#include <string>

#include "gradus/device/cuda/nvrtc.hpp"

namespace gradus::test {

struct Nvrtc {
  struct Result {
    bool ok = false;
    std::string code;  ///< cubin for "sm_80", PTX for "compute_80"
    std::string log;
  };
  const cuda::detail::Nvrtc& api;

  static std::optional<Nvrtc> find() {
    try {
      return Nvrtc{cuda::detail::Nvrtc::get()};
    } catch (const CudaError&) {
      return std::nullopt;
    }
  }

  /// Of "sm_90" and so on.
  bool knows(const std::string& architecture) const {
    int count = 0;
    api.architecture_count(&count);
    std::vector<int> known(static_cast<size_t>(count));
    api.architectures(known.data());
    return std::any_of(known.begin(), known.end(),
                       [&](int arch) { return architecture == "sm_" + std::to_string(arch); });
  }

  Result compile(const std::string& source, const std::string& architecture) const {
    cuda::detail::KernelSource kernel{.name = "kernels",
                                      .text = source,
                                      .options = {"--std=c++17", "--ptxas-options=-v"},
                                      .ptx = architecture.starts_with("compute_")};
    try {
      auto made = cuda::detail::compile(api, kernel, std::stoi(architecture.substr(architecture.find('_') + 1)));
      return {true, made.code, made.log};
    } catch (const CudaError& error) {
      return {false, "", error.what()};
    }
  }
};

}  // namespace gradus::test
