// Activation recomputation: a part of a model forgets what it computed and computes it again for its gradient.
#pragma once

#include <functional>

#include "gradus/autograd/parameter.hpp"
#include "gradus/core/rng.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Makes the default generator's state another one for a while.
class GeneratorState {
 public:
  explicit GeneratorState(const Generator& other)
      : before_(std::exchange(default_generator(), other)), replaced_(std::exchange(generator_is_replaced(), true)) {}
  ~GeneratorState() {
    default_generator() = before_;
    generator_is_replaced() = replaced_;
  }
  GeneratorState(const GeneratorState&) = delete;
  GeneratorState& operator=(const GeneratorState&) = delete;

 private:
  Generator before_;
  bool replaced_;
};

/// Inputs: x, then the trained tensors of the part.
template <Floating T>
struct RecomputedNode final : GraphNode {
  Tensor<T> x;
  std::function<Tensor<T>(const Tensor<T>&)> f;
  Generator generator = default_generator();  ///< as it was, so that the same elements are dropped
  std::vector<Edge> inputs;
  std::vector<Shape> shapes;
  std::vector<uint32_t> versions;  ///< of the storages of x and the trained tensors
  std::vector<TensorRef> held;

  RecomputedNode() : GraphNode("recompute") {}
  std::span<const Edge> edges() const override { return inputs; }
  std::span<const Shape> input_shapes() const override { return shapes; }
  TensorRef add(TensorRef a, const TensorRef& b) const override { return add_gradients<T>(std::move(a), b); }
  void take(const TensorRef& input) {
    inputs.push_back(edge_of_impl(input));
    shapes.push_back(input->shape);
    versions.push_back(input->storage->version());
    held.push_back(input);
  }
  void run_backward(BackwardWalk& walk) override {
    require<AutogradError>(!recording(),
                           "backward: gradients of gradients do not pass a part that is computed again; switch its "
                           "recompute off");
    for (size_t i = 0; i < held.size(); ++i)
      require<AutogradError>(held[i]->storage->version() == versions[i],
                             "backward: a tensor that 'recompute' needs was changed in place by '",
                             held[i]->storage->last_writer(), "' after it was used");
    auto again = x.detach();
    if (inputs[0].node) again.set_requires_grad(true);
    auto y = [&] {
      GeneratorState as_before(generator);
      auto record = std::exchange(recording(), true);
      struct Restore {
        bool before;
        ~Restore() { recording() = before; }
      } restore{record};
      return f(again);
    }();
    std::vector<Target> targets;
    std::vector<size_t> places;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].node || !inputs[i].node->wanted) continue;
      if (i == 0) targets.push_back({again.impl()->node, again.impl()->output, {}});
      else targets.push_back({inputs[i].node, inputs[i].output, {}});
      places.push_back(i);
    }
    auto seen = want_targets({y.impl()->node}, targets);
    {
      BackwardWalk inner(false, &targets);
      inner.deliver({y.impl()->node, y.impl()->output}, gradient);
      inner.run();
    }
    want_all(seen);
    for (size_t i = 0; i < places.size(); ++i) walk.deliver(inputs[places[i]], std::move(targets[i].gradient));
  }
  void release() override {
    x = {};
    f = nullptr;
    inputs.clear();
    held.clear();
  }

 private:
  static Edge edge_of_impl(const TensorRef& impl) { return {impl->node, impl->output}; }
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// f(x) of a part of a model, which keeps x alone for the gradient and computes f once more there (Chen et al., 2016):
/// a forward pass in exchange for the memory of everything inside. `part` holds the trained tensors that f uses; it
/// must live until backward. Dropout drops the same again. Gradients of gradients are refused.
///
///     auto y = recompute(block, x, [&](const auto& x) { return block(x); });
template <class Part, Floating T, class F>
Tensor<T> recompute(const Part& part, const Tensor<T>& x, F&& f) {
  if (!grad_enabled()) return f(x);
  auto* node = new detail::RecomputedNode<T>;
  detail::NodeRef owner(node);
  node->take(x.impl());
  bool recorded = x.requires_grad();
  for (const auto& tensor : detail::model_tensors(part)) {
    if (!tensor.trained || !tensor.impl->node) continue;
    node->take(tensor.impl);
    recorded = true;
  }
  auto y = no_grad([&] { return f(x); });
  if (!recorded) return y;
  node->x = x.detach();
  node->f = std::forward<F>(f);
  y = y.detach();
  y.impl()->node = owner;
  return y;
}

}  // namespace gradus::inline GRADUS_BUILD
