#pragma once

#include "gradus/ops/indexing/stack.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A node with as many outputs as the axis has positions.
template <Floating T>
struct UnbindNode final : NodeWithEdges<T, 1> {
  int axis;
  std::vector<Shape> parts;  ///< shapes of the outputs
  Device device;

  UnbindNode(int a, Device of) : NodeWithEdges<T, 1>("unbind"), axis(a), device(of) {}
  void run_backward(BackwardWalk& walk) override {
    std::vector<Tensor<T>> gradients;
    Tensor<T> zero;  // of outputs that nobody used
    for (size_t i = 0; i < parts.size(); ++i) {
      auto dy = this->gradient_of(static_cast<int>(i));
      if (!dy && !zero.defined()) zero = zeros<T>(parts[i], device);
      gradients.push_back(dy ? Tensor<T>(dy) : zero);
    }
    walk.deliver(this->inputs[0], stack(gradients, axis).impl());
  }
  void release() override { this->inputs = {}; }
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// All positions of an axis, which disappears: (steps, n, c) -> steps tensors (n, c) that share x's memory. The
/// gradient is joined once, where that of select() is as large as x for every one of them. As torch.unbind.
template <Element T>
std::vector<Tensor<T>> unbind(const Tensor<T>& x, int64_t axis = 0) {
  auto a = normalize_axis("unbind", axis, x.rank());
  std::vector<Tensor<T>> parts;
  {
    NoGradGuard guard;
    for (int64_t i = 0; i < x.shape()[a]; ++i) parts.push_back(select(x.detach(), a, i));
  }
  if constexpr (Floating<T>) {
    if (!parts.empty() && x.requires_grad() && grad_enabled()) {
      auto* node = new detail::UnbindNode<T>(a, x.device());
      detail::NodeRef owner(node);
      node->inputs = {detail::edge_of(x.impl())};
      node->shapes = {x.shape()};
      for (size_t i = 0; i < parts.size(); ++i) {
        node->parts.push_back(parts[i].shape());
        parts[i].impl()->node = owner;
        parts[i].impl()->output = static_cast<int>(i);
        detail::watch_output("unbind", parts[i].impl());
      }
    }
  }
  return parts;
}

}  // namespace gradus::inline GRADUS_BUILD
