// A user's own code in the backward walk.
#pragma once

#include <functional>

#include "gradus/autograd/autograd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What is to be done with the gradient of one output.
struct GradientHook {
  int output;
  bool removed;
  std::function<TensorRef(const TensorRef& gradient)> run;
};

struct HookList final : GradientHooks {
  std::vector<std::shared_ptr<GradientHook>> hooks;

  GRADUS_COLD void run(GraphNode& node) const override {
    auto present = hooks;  // a hook may add or remove some
    for (const auto& hook : present) {
      auto& gradient = node.gradient_of(hook->output);
      if (!gradient || hook->removed) continue;
      auto changed = hook->run(gradient);
      if (!changed) continue;
      require<ShapeError>(changed->shape == gradient->shape, "backward: a hook of '", node.name,
                          "' returns a gradient ", changed->shape, " for one that is ", gradient->shape);
      gradient = std::move(changed);
    }
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Takes a hook away again. May be dropped: the hook then stays as long as its tensor's place in the graph.
class HookHandle {
 public:
  HookHandle() = default;
  /// Internal.
  explicit HookHandle(std::shared_ptr<detail::GradientHook> hook) : hook_(std::move(hook)) {}
  /// The hook is not called again. May be called twice, and by the hook itself.
  void remove() {
    if (hook_) hook_->removed = true;
  }

 private:
  std::shared_ptr<detail::GradientHook> hook_;
};

/// Calls hook(gradient) when the gradient with respect to x is known, before it is passed on or collected: x may be a
/// leaf or a result in the middle of a graph. A hook that returns a tensor replaces the gradient; one that returns
/// nothing, or an undefined tensor, only looks. As torch.Tensor.register_hook. The hook must not keep x itself, which
/// would keep the graph alive. AutogradError when x needs no gradient.
template <Floating T, class F>
HookHandle register_hook(const Tensor<T>& x, F hook) {
  require<AutogradError>(x.requires_grad(),
                         "register_hook: this tensor needs no gradient, so the hook would never run");
  auto node = x.impl()->node;
  auto held = std::make_shared<detail::GradientHook>(
      detail::GradientHook{x.impl()->output, false,
                           [hook = std::move(hook)](const detail::TensorRef& gradient) mutable -> detail::TensorRef {
                             if constexpr (std::is_void_v<std::invoke_result_t<F&, const Tensor<T>&>>) {
                               hook(Tensor<T>(gradient));
                               return {};
                             } else {
                               return Tensor<T>(hook(Tensor<T>(gradient))).impl();
                             }
                           }});
  if (!node->hooks) node->hooks = std::make_unique<detail::HookList>();
  static_cast<detail::HookList&>(*node->hooks).hooks.push_back(held);
  return HookHandle(std::move(held));
}

}  // namespace gradus::inline GRADUS_BUILD
