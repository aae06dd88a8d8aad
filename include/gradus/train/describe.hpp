#pragma once

#include "gradus/core/device.hpp"
#include "gradus/core/thread_pool.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/context.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

/// What a program computes on, for people: "2 threads", or "NVIDIA H100 80GB HBM3 (cuda:0)".
inline std::string describe(Device device) {
  if (device.is_cpu()) return std::to_string(num_threads()) + (num_threads() == 1 ? " thread" : " threads");
#if defined(GRADUS_CUDA)
  return cuda::detail::Context::of(device).name() + " (" + to_string(device) + ')';
#else
  return to_string(device);
#endif
}

}  // namespace gradus::inline GRADUS_BUILD
