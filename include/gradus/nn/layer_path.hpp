// Where in its model an error happened.
#pragma once

#include <string>

#include "gradus/autograd/parameter.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/nvtx.hpp"
#endif

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// Runs f(); an error thrown from it gets the path of the layer that `weight` belongs to ("LeNet.output") in front.
template <class P, class F>
decltype(auto) in_layer_of(const P& weight, F&& f) {
  gradus::detail::WatchedLayer watched(weight.path());
#if defined(GRADUS_CUDA)
  cuda::detail::NamedRange range(weight.path());
#endif
  try {
    return f();
  } catch (Error& error) {
    const auto& path = weight.path();
    auto end = path.rfind('.');
    if (end != std::string::npos) error.add_context(path.substr(0, end));
    throw;
  }
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD
