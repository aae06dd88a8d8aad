// Convolutions by cuDNN: the three products of one, each a graph of one operation.
#pragma once

#include "gradus/device/cuda/cudnn.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// What one convolution is about: x (n, c_in, h, w), w (c_out, c_in / groups, kh, kw), y (n, c_out, oh, ow), with the
/// strides of their memory.
struct ConvGraphShape {
  CudnnType type = CudnnType::f32;
  int unwanted = 0;  ///< notes of engines that may not be taken
  CudnnSizes x, w, y;
  CudnnSizes x_strides, w_strides, y_strides;
  CudnnGraph::Window window;
};

struct ConvIds {
  static constexpr int64_t x = 1, w = 2, y = 3;
};

/// The plan of y = x * w, or of the gradient of x or w: `kind` is one of CudnnKind's convolution_...
inline std::optional<CudnnPlan> plan_convolution(const Cudnn& api, int kind, const ConvGraphShape& s,
                                                 const CudnnTarget& target, std::string* why = nullptr) {
  CudnnGraph graph(api, "conv2d");
  graph.convolve(kind, s.window, graph.tensor(ConvIds::x, s.type, s.x, s.x_strides),
                 graph.tensor(ConvIds::w, s.type, s.w, s.w_strides), graph.tensor(ConvIds::y, s.type, s.y, s.y_strides),
                 s.type == CudnnType::f64 ? CudnnType::f64 : CudnnType::f32);
  return graph.plan(target, s.unwanted, why);
}

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE
