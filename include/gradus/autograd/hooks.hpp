// A user's own code in the backward walk.
#pragma once

#include "gradus/autograd/autograd.hpp"

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
  if (!node->hooks) node->hooks = std::make_unique<detail::GradientHooks>();
  node->hooks->push_back(held);
  return HookHandle(std::move(held));
}

}  // namespace gradus::inline GRADUS_BUILD
