// Where a tensor lives. A value: programs choose at run time.
#pragma once

#include <cstdlib>
#include <string>

#include "gradus/core/error.hpp"

namespace gradus::detail::inline GRADUS_STABLE {

/// How many GPUs there are, and why none; null in a program without GPU support. Set by device/cuda.
GRADUS_SHARED inline int (*count_cards)(std::string* reason) noexcept = nullptr;

}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_STABLE {

class GRADUS_SHARED Device {
 public:
  enum class Kind : unsigned char { cpu, cuda };

  constexpr Device() = default;
  static constexpr Device cpu() { return {}; }
  /// An NVIDIA GPU. Throws DeviceError, with the reason, when there is none of that number.
  static Device cuda(int index = 0) {
    require<DeviceError>(detail::count_cards != nullptr, "Device::cuda(", index,
                         "): this program was built without GPU support; use Device::best()");
    std::string reason;
    auto count = detail::count_cards(&reason);
    require<DeviceError>(index >= 0 && index<count, "Device::cuda(", index, "): ", count> 0
                             ? join("there are ", count, " GPUs, numbered from 0")
                             : reason,
                         "; use Device::best()");
    return Device(Kind::cuda, index);
  }
  /// The first GPU, or else the CPU; decided once. The variable GRADUS_DEVICE chooses another: cpu, cuda or cuda:1.
  /// Never throws: what cannot be had is the CPU.
  static Device best() noexcept {
    static const Device chosen = [] {
      const auto* wanted = std::getenv("GRADUS_DEVICE");
      auto text = std::string(wanted == nullptr ? "cuda" : wanted);
      try {
        if (text.starts_with("cuda")) return cuda(text.size() > 5 ? std::atoi(text.c_str() + 5) : 0);
      } catch (const Error&) {
      }
      return cpu();
    }();
    return chosen;
  }

  constexpr Kind kind() const { return kind_; }
  constexpr int index() const { return index_; }
  constexpr bool is_cpu() const { return kind_ == Kind::cpu; }

  friend constexpr bool operator==(Device a, Device b) = default;
  friend std::string to_string(Device device) {
    return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index_);
  }

 private:
  constexpr Device(Kind kind, int index) : kind_(kind), index_(index) {}

  Kind kind_ = Kind::cpu;
  int index_ = 0;
};

}  // namespace gradus::inline GRADUS_STABLE
