// What users call: backward(), grad(), leaves. The autograd members of Tensor are defined here.
#pragma once

#include <algorithm>
#include <vector>

#include "gradus/autograd/backward.hpp"

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T>& Tensor<T>::set_requires_grad(bool wanted) {
  if constexpr (Floating<T>) {
    const auto& node = checked().node;
    require<AutogradError>(!node || node->is_leaf(), "set_requires_grad: this tensor was computed by '",
                           node ? node->name : "", "'; only leaves can be asked, detach() it first");
    if (wanted && !node) impl_->node = detail::NodeRef(new detail::LeafNode<T>);
    if (!wanted) impl_->node = {};
  } else {
    require<TypeError>(!wanted, "set_requires_grad: a tensor of ", dtype_of<T>,
                       " has no gradient; cast it to a floating type");
  }
  return *this;
}

template <Element T>
Tensor<T> Tensor<T>::grad() const {
  if constexpr (Floating<T>) {
    const auto& node = checked().node;
    if (node && node->is_leaf()) return Tensor(static_cast<detail::LeafNode<T>&>(*node).collected);
  }
  return {};
}

template <Element T>
void Tensor<T>::set_grad(Tensor gradient) {
  const auto& node = checked().node;
  require<AutogradError>(node && node->is_leaf(), "set_grad: only a leaf that requires a gradient has one");
  require<ShapeError>(!gradient.defined() || gradient.shape() == shape(), "set_grad: the gradient is ",
                      gradient.defined() ? gradient.shape() : Shape(), " but the tensor is ", shape());
  if constexpr (Floating<T>) static_cast<detail::LeafNode<T>&>(*node).collected = gradient.impl();
}

template <Element T>
void Tensor<T>::begin_write(const char* name) {
  const auto& node = checked().node;
  require<AutogradError>(
      !node || !grad_enabled(), name, ": this tensor ",
      node && node->is_leaf() ? "is a leaf that requires a gradient" : "is part of a graph",
      ", and in-place operators do not record; do it under no_grad, or on a detach()ed or cloned tensor");
  impl_->storage->bump(name);
}

template <Element T>
void Tensor<T>::backward(bool retain_graph) const {
  require<ShapeError>(numel() == 1, "backward: a tensor of shape ", shape(),
                      " is not a scalar; reduce it first, or pass the gradient to start with");
  auto one = Tensor::empty(shape(), device());
  auto value = T(1);
  detail::fill_elements(*one.impl(), &value);
  backward(one, retain_graph);
}

template <Element T>
void Tensor<T>::backward(const Tensor& gradient, bool retain_graph) const {
  const auto& node = checked().node;
  require<AutogradError>(static_cast<bool>(node),
                         "backward: nothing was recorded for this tensor; no input requires a gradient");
  require<ShapeError>(gradient.shape() == shape(), "backward: the gradient is ", gradient.shape(),
                      " but the tensor is ", shape());
  NoGradGuard guard;
  detail::BackwardWalk walk(retain_graph);
  walk.deliver({node, impl_->output}, gradient.impl());
  walk.run();
}

/// How grad() walks the graph.
struct GradOptions {
  bool create_graph = false;  ///< record the gradients, so that they can be differentiated again
  bool retain_graph = false;  ///< keep the graph for another walk; create_graph implies it
  bool allow_unused = false;  ///< an input that y does not depend on gives an undefined tensor, not an error
};

/// Gradients of y, weighted by `gradient` (undefined: ones), with respect to each input. Nothing is added to grad().
template <Floating T, Floating U>
std::vector<Tensor<U>> grad(const Tensor<T>& y, const std::vector<Tensor<U>>& inputs, GradOptions options = {},
                            Tensor<T> gradient = {}) {
  require<AutogradError>(y.requires_grad(), "grad: nothing was recorded for y; no input requires a gradient");
  if (!gradient.defined()) {
    require<ShapeError>(y.numel() == 1, "grad: y of shape ", y.shape(),
                        " is not a scalar; pass the gradient to start with");
    gradient = Tensor<T>::empty(y.shape(), y.device());
    auto one = T(1);
    detail::fill_elements(*gradient.impl(), &one);
  }
  require<ShapeError>(gradient.shape() == y.shape(), "grad: the gradient is ", gradient.shape(), " but y is ",
                      y.shape());
  std::vector<detail::Target> targets;
  for (const auto& input : inputs) {
    require<AutogradError>(input.requires_grad(), "grad: input ", targets.size(), " does not require a gradient");
    targets.push_back({input.impl()->node, input.impl()->output, {}});
  }
  auto seen = detail::want_targets({y.impl()->node}, targets);
  struct Reset {
    std::vector<detail::NodeRef>& nodes;
    ~Reset() { detail::want_all(nodes); }
  } reset{seen};
  auto freed = std::find_if(seen.begin(), seen.end(), [](const detail::NodeRef& node) { return node->freed; });
  auto before = std::exchange(detail::recording(), options.create_graph);
  struct Restore {
    bool before;
    ~Restore() { detail::recording() = before; }
  } restore{before};
  {
    detail::BackwardWalk walk(options.retain_graph || options.create_graph, &targets);
    walk.deliver({y.impl()->node, y.impl()->output}, gradient.impl());
    walk.run();
  }
  std::vector<Tensor<U>> gradients;
  for (auto& target : targets) {
    if (!target.gradient && freed != seen.end()) detail::require_graph(**freed);  // the way may have led through it
    require<AutogradError>(target.gradient || options.allow_unused, "grad: y does not depend on input ",
                           gradients.size(), "; pass allow_unused = true to get an undefined tensor for it");
    gradients.emplace_back(std::move(target.gradient));
  }
  return gradients;
}

/// The same for one input.
template <Floating T, Floating U>
Tensor<U> grad(const Tensor<T>& y, const Tensor<U>& input, GradOptions options = {}, Tensor<T> gradient = {}) {
  return grad(y, std::vector<Tensor<U>>{input}, options, std::move(gradient))[0];
}

}  // namespace gradus::inline GRADUS_BUILD

#include "gradus/autograd/differentiable.hpp"  // sums of gradients are recorded by it; includes this file in turn
