// Where a tensor lives. A value: programs choose at run time.
#pragma once

#include <string>

#include "gradus/core/error.hpp"

namespace gradus::inline GRADUS_STABLE {

class GRADUS_SHARED Device {
 public:
  enum class Kind : unsigned char { cpu, cuda };

  constexpr Device() = default;
  static constexpr Device cpu() { return {}; }
  /// Throws DeviceError in a build without GPU support.
  static Device cuda(int index = 0) {
    require<DeviceError>(false, "Device::cuda(", index,
                         "): this program was built without GPU support; use Device::best()");
    return {};
  }
  /// The fastest device present. Never throws.
  static Device best() noexcept { return cpu(); }

  constexpr Kind kind() const { return kind_; }
  constexpr int index() const { return index_; }
  constexpr bool is_cpu() const { return kind_ == Kind::cpu; }

  friend constexpr bool operator==(Device a, Device b) = default;
  friend std::string to_string(Device device) {
    return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index_);
  }

 private:
  Kind kind_ = Kind::cpu;
  int index_ = 0;
};

}  // namespace gradus::inline GRADUS_STABLE
