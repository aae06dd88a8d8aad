// Random words of a captured step.
#pragma once

#include <memory>

#include "gradus/core/rng.hpp"
#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// The stream of each replay, which reserves as many words anew as `stream` has, where a step on the device is being
/// captured; else null.
inline std::shared_ptr<const RandomStream> live_stream(const char* op, Device device, const RandomStream& stream,
                                                       int64_t words) {
  if (device.is_cpu() || !cuda::detail::Context::of(device).capturing()) return nullptr;
  require<CaptureError>(!generator_is_replaced(), "a step with '", op,
                        "' within recompute() cannot be captured: the second time it must drop the same elements");
  auto live = std::make_shared<RandomStream>(stream);
  cuda::detail::Context::of(device).on_replay([live, words] { *live = default_generator().reserve(words); });
  return live;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
