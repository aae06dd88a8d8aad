// Convolutions by cuDNN: the three products of one, each a graph of one operation, the forward one with its bias and
// activation.
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
  int64_t has_bias = 0;  ///< forward: (c_out,) is added to y
  int64_t has_relu = 0;  ///< forward: then y is max(y, 0)
};

struct ConvIds {
  static constexpr int64_t x = 1, w = 2, y = 3, bias = 4;
};

/// The plan of y = x * w, or of the gradient of x or w: `kind` is one of CudnnKind's convolution_...
inline std::optional<CudnnPlan> plan_convolution(const Cudnn& api, int kind, const ConvGraphShape& s,
                                                 const CudnnTarget& target, std::string* why = nullptr) {
  CudnnGraph graph(api, "conv2d");
  auto compute = s.type == CudnnType::f64 ? CudnnType::f64 : CudnnType::f32;
  auto x = graph.tensor(ConvIds::x, s.type, s.x, s.x_strides), w = graph.tensor(ConvIds::w, s.type, s.w, s.w_strides),
       y = graph.tensor(ConvIds::y, s.type, s.y, s.y_strides);
  auto inner = [&] { return graph.inner(s.y, s.y_strides, compute); };
  auto product = s.has_bias + s.has_relu > 0 ? inner() : y;
  auto sum = s.has_bias == 0 ? product : s.has_relu != 0 ? inner() : y;
  graph.convolve(kind, s.window, x, w, product, compute);
  if (s.has_bias != 0) {
    CudnnSizes sizes{1, s.y[1], 1, 1};
    auto bias = graph.tensor(ConvIds::bias, s.type, sizes, dense_strides(sizes));
    graph.pointwise_to(sum, CudnnPointwise::add, product, bias, compute);
  }
  if (s.has_relu != 0) graph.relu_to(y, sum, compute);
  return graph.plan(target, s.unwanted, why);
}

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE
