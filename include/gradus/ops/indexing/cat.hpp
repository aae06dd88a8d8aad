#pragma once

#include <vector>

#include "gradus/ops/view/slice.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A node with as many inputs as there are parts.
template <Floating T>
struct CatNode final : GraphNode {
  int axis;
  std::vector<Edge> inputs;
  std::vector<Shape> shapes;

  explicit CatNode(int a) : GraphNode("cat"), axis(a) {}
  std::span<const Edge> edges() const override { return inputs; }
  std::span<const Shape> input_shapes() const override { return shapes; }
  TensorRef add(TensorRef a, const TensorRef& b) const override { return add_gradients<T>(std::move(a), b); }
  void run_backward(BackwardWalk& walk) override {
    Tensor<T> dy(gradient);
    int64_t start = 0;
    for (size_t i = 0; i < inputs.size(); start += shapes[i++][axis]) {
      if (inputs[i].node && inputs[i].node->wanted)
        walk.deliver(inputs[i], slice(dy, axis, start, start + shapes[i][axis]).impl());
    }
  }
  void release() override { inputs.clear(); }
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Joins tensors along an axis; all other sizes must be equal. As torch.cat.
template <Element T>
Tensor<T> cat(const std::vector<Tensor<T>>& parts, int64_t axis = 0) {
  require<ValueError>(!parts.empty(), "cat: nothing to join");
  auto a = normalize_axis("cat", axis, parts[0].rank());
  auto shape = parts[0].shape();
  shape[a] = 0;
  bool recorded = false;
  for (const auto& part : parts) {
    auto other = part.shape();
    if (other.rank() == shape.rank()) other[a] = shape[a];
    require<ShapeError>(other == shape, "cat: ", parts[0].shape(), " and ", part.shape(), " differ in more than axis ",
                        axis);
    shape[a] += part.shape()[a];
    recorded |= part.requires_grad();
  }
  auto last =
      std::any_of(parts.begin(), parts.end(), [](const Tensor<T>& x) { return detail::is_channels_last(*x.impl()); });
  auto y = detail::empty_images<T>(shape, parts[0].device(), last, "cat");
  int64_t start = 0;
  for (const auto& part : parts) {
    auto count = part.shape()[a];
    detail::copy_elements(*detail::raw_slice(y, a, start, count, 1).impl(), *part.impl());
    start += count;
  }
  if constexpr (Floating<T>) {
    if (recorded && grad_enabled()) {
      auto* node = new detail::CatNode<T>(a);
      y.impl()->node = detail::NodeRef(node);
      for (const auto& part : parts) {
        node->inputs.push_back(detail::edge_of(part.impl()));
        node->shapes.push_back(part.shape());
      }
    }
  }
  return y;
}

}  // namespace gradus::inline GRADUS_BUILD
