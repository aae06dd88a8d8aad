// How an operator says what its gradient is. Library operators and users' own functions use the same calls.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "gradus/autograd/autograd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A saved tensor must be as it was.
inline void check_version(const Storage& storage, uint32_t version) {
  require<AutogradError>(storage.version() == version, "backward: a tensor that '", running_backward(),
                         "' needs for its gradient was changed in place by '", storage.last_writer(),
                         "' after it was used; clone() it before the change");
}

/// Whether a gradient may be written into this memory: no other handle or view of it lives.
inline bool is_nobody_elses(const TensorRef& impl) {
  return !recording() && impl.unique() && impl->storage.unique() && impl->storage->is_own();
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// A tensor that a gradient will need, and its version now. Reading it after an in-place change throws.
template <Element T>
class Saved {
 public:
  Saved() = default;
  explicit Saved(Tensor<T> tensor)
      : tensor_(std::move(tensor)), version_(tensor_.defined() ? tensor_.impl()->storage->version() : 0) {}

  const Tensor<T>& operator()() const {
    if (tensor_.defined()) detail::check_version(*tensor_.impl()->storage, version_);
    return tensor_;
  }
  /// A tensor in the same memory, for a gradient to be written into, when nobody else will ever read the saved one:
  /// no other handle or view of it lives, and the walk frees the graph. Else undefined.
  Tensor<T> spare() const {
    const auto& impl = tensor_.impl();
    if (!detail::walk_frees_graph() || !detail::is_nobody_elses(impl) || !impl->is_contiguous()) return {};
    auto memory = tensor_.detach();
    impl->storage->bump("its gradient");
    return memory;
  }

 private:
  Tensor<T> tensor_;
  uint32_t version_ = 0;
};

/// For capture in a gradient's closure: `[b = saved(b)](const auto& dy) { return mul(dy, b()); }`. Inputs may be
/// saved as they are; an output must be saved as saved(y.detach()), or the node would keep itself alive.
template <Element T>
Saved<T> saved(const Tensor<T>& tensor) {
  return Saved<T>(tensor);
}

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// An input, and the closure that makes its gradient.
template <class F>
struct Wrt {
  Edge edge;  ///< empty when the input needs no gradient
  Shape shape;
  F gradient;
};

inline Edge edge_of(const TensorRef& impl) { return impl ? Edge{impl->node, impl->output} : Edge{}; }

inline void check_gradient(const char* name, size_t input, const TensorRef& gradient, const Shape& shape) {
  require<ShapeError>(!gradient || gradient->shape == shape, "backward of '", name, "': the gradient for input ", input,
                      " is ", gradient ? gradient->shape : Shape(), " but the input is ", shape);
}

template <class T, size_t N>
struct NodeWithEdges : GraphNode {
  using GraphNode::GraphNode;
  std::array<Edge, N> inputs;
  std::array<Shape, N> shapes;
  std::span<const Edge> edges() const override { return inputs; }
  std::span<const Shape> input_shapes() const override { return shapes; }
  TensorRef add(TensorRef a, const TensorRef& b) const override { return add_gradients<T>(std::move(a), b); }
};

/// A closure from the gradient of an output to that of an input. Its type is forgotten, so that nodes of all operators
/// are of one type, and one function knows it, which runs or (without a gradient) destroys it: cheap to compile.
template <class T>
class GradientClosure {
 public:
  GradientClosure() = default;
  template <class F>
  explicit GradientClosure(F&& f) : held_(new Held<F>{{}, std::move(f)}), step_(&step<F>) {}
  GradientClosure& operator=(GradientClosure&& other) noexcept {
    std::swap(held_, other.held_);
    std::swap(step_, other.step_);
    return *this;
  }
  ~GradientClosure() { reset(); }

  explicit operator bool() const { return held_ != nullptr; }
  TensorRef operator()(const Tensor<T>& dy) const { return step_(held_, &dy); }
  void reset() {
    if (held_ != nullptr) step_(std::exchange(held_, nullptr), nullptr);
  }

 private:
  template <class F>
  struct Held : Pooled {
    F f;
  };
  template <class F>
  static TensorRef step(void* held, const Tensor<T>* dy) {
    auto* closure = static_cast<Held<F>*>(held);
    if (dy != nullptr) return closure->f(*dy).impl();
    delete closure;
    return {};
  }

  void* held_ = nullptr;
  TensorRef (*step_)(void*, const Tensor<T>*) = nullptr;
};

/// One closure an input: (gradient of the output) -> (gradient of that input).
template <class T, size_t N>
struct ClosuresNode final : NodeWithEdges<T, N> {
  std::array<GradientClosure<T>, N> closures;  // empty where no gradient is needed

  using NodeWithEdges<T, N>::NodeWithEdges;
  template <class F>
  void set(size_t i, Wrt<F>& part) {
    this->shapes[i] = part.shape;
    if (!part.edge.node) return;
    this->inputs[i] = std::move(part.edge);
    closures[i] = GradientClosure<T>(std::move(part.gradient));
  }
  void run_backward(BackwardWalk& walk) override {
    Tensor<T> dy(this->gradient);
    for (size_t i = 0; i < N; ++i) {
      if (!closures[i] || !this->inputs[i].node->wanted) continue;
      auto result = closures[i](dy);
      check_gradient(this->name, i, result, this->shapes[i]);
      walk.deliver(this->inputs[i], std::move(result));
    }
  }
  void release() override {
    for (auto& closure : closures) closure.reset();
    this->inputs = {};
  }
};

/// One closure for all inputs: (gradients of the outputs, which inputs want one) -> tuple of gradients. Where it adds
/// the gradients of its one output, Outputs is 2: the second is undefined, or to be added to the first.
template <class T, class F, size_t Outputs, size_t Inputs>
struct ClosureNode final : NodeWithEdges<T, Inputs> {
  std::optional<F> closure;

  ClosureNode(const char* op, F&& f) : NodeWithEdges<T, Inputs>(op), closure(std::move(f)) {}
  void run_backward(BackwardWalk& walk) override {
    std::array<Tensor<T>, Outputs> gradients;
    std::array<bool, Inputs> mask;
    for (size_t i = 0; i < Outputs; ++i) gradients[i] = Tensor<T>(this->take_gradient(static_cast<int>(i)));
    for (size_t i = 0; i < Inputs; ++i) mask[i] = this->inputs[i].node && this->inputs[i].node->wanted;
    auto results = [&] {
      if constexpr (Outputs == 1) return (*closure)(gradients[0], mask);
      else return (*closure)(gradients, mask);
    }();
    size_t i = 0;
    auto one = [&](const auto& result) {
      if (mask[i]) {
        check_gradient(this->name, i, result.impl(), this->shapes[i]);
        walk.deliver(this->inputs[i], result.impl());
      }
      ++i;
    };
    std::apply([&](const auto&... result) { (one(result), ...); }, results);
  }
  void release() override {
    closure.reset();
    this->inputs = {};
  }
};

/// The node of an operator with one closure; null when no input needs a gradient now.
template <Floating T, size_t Outputs, class F, Element... A>
NodeRef node_of(const char* name, F&& closure, const Tensor<A>&... input) {
  if (!grad_enabled() || !((input.defined() && input.requires_grad()) || ...)) return {};
  auto* node = new ClosureNode<T, std::decay_t<F>, Outputs, sizeof...(A)>(name, std::forward<F>(closure));
  node->inputs = {edge_of(input.impl())...};
  node->shapes = {(input.defined() ? input.shape() : Shape())...};
  return NodeRef(node);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Names an input and the closure that makes its gradient: `Tensor<T> dy -> Tensor<A>` of the input's shape.
/// The closure is dropped at once when the input needs no gradient.
template <Element A, class F>
detail::Wrt<std::decay_t<F>> wrt(const Tensor<A>& input, F&& gradient) {
  auto recorded = grad_enabled();
  auto edge = recorded ? detail::edge_of(input.impl()) : detail::Edge{};
  auto shape = recorded && input.defined() ? input.shape() : Shape();
  return {std::move(edge), shape, std::forward<F>(gradient)};
}

/// Records that y was computed from the inputs named by wrt(). y must be new. Returns y.
template <Floating T, class... F>
Tensor<T> differentiable(const char* name, Tensor<T> y, detail::Wrt<F>... parts) {
  if ((static_cast<bool>(parts.edge.node) || ...)) {
    auto* node = new detail::ClosuresNode<T, sizeof...(F)>(name);
    y.impl()->node = detail::NodeRef(node);
    size_t i = 0;
    (node->set(i++, parts), ...);
  }
  detail::watch_output(name, y.impl());
  return y;
}

/// The inputs of an operator whose gradient is one closure.
template <Element... A>
struct Inputs {
  std::tuple<const Tensor<A>&...> tensors;
};
template <Element... A>
Inputs<A...> inputs(const Tensor<A>&... tensors) {
  return {{tensors...}};
}

/// One closure for all inputs of an operator with several outputs:
/// `closure(std::array<Tensor<T>, outputs> dys, std::array<bool, inputs> wanted)` returns a tuple with a tensor an
/// input, undefined where none is wanted. Outputs that nobody used have undefined gradients.
template <Floating T, size_t Outputs, Element... A, class F>
std::array<Tensor<T>, Outputs> differentiable(const char* name, std::array<Tensor<T>, Outputs> ys, Inputs<A...> from,
                                              F&& closure) {
  for (const auto& y : ys) detail::watch_output(name, y.impl());
  auto owner = std::apply(
      [&](const auto&... input) { return detail::node_of<T, Outputs>(name, std::forward<F>(closure), input...); },
      from.tensors);
  for (size_t i = 0; owner && i < Outputs; ++i) {
    ys[i].impl()->node = owner;
    ys[i].impl()->output = static_cast<int>(i);
  }
  return ys;
}

/// The same for one output: `closure(Tensor<T> dy, std::array<bool, inputs> wanted)`.
template <Floating T, Element... A, class F>
Tensor<T> differentiable(const char* name, Tensor<T> y, Inputs<A...> from, F&& closure) {
  return differentiable(name, std::array<Tensor<T>, 1>{std::move(y)}, from, std::forward<F>(closure))[0];
}

/// The same for one output whose gradients the operator adds itself, in a pass over memory that it makes anyway:
/// `closure(std::array<Tensor<T>, 2> dys, std::array<bool, inputs> wanted)`, where the second of dys is undefined or is
/// to be added to the first. While gradients are recorded it is always undefined.
template <Floating T, Element... A, class F>
Tensor<T> differentiable_adding(const char* name, Tensor<T> y, Inputs<A...> from, F&& closure) {
  detail::watch_output(name, y.impl());
  auto owner =
      std::apply([&](const auto&... input) { return detail::node_of<T, 2>(name, std::forward<F>(closure), input...); },
                 from.tensors);
  if (!owner) return y;
  owner->adds_gradients = true;
  y.impl()->node = owner;
  return y;
}

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
TensorRef add_recorded(const TensorRef& a, const TensorRef& b) {
  auto pass = [](const Tensor<T>& dy) { return dy; };
  Tensor<T> sum(add_values<T>(a, b));
  return differentiable("add", std::move(sum), wrt(Tensor<T>(a), pass), wrt(Tensor<T>(b), pass)).impl();
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

template <Element T>
void Tensor<T>::record_move(Tensor& moved) const {
  if constexpr (Floating<T>) {
    moved = differentiable("to", moved, wrt(*this, [back = device()](const Tensor& dy) { return dy.to(back); }));
  }
}

}  // namespace gradus::inline GRADUS_BUILD
