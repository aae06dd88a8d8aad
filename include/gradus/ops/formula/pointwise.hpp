// pointwise("name", lambda): a whole operator from one formula. Forward and gradient kernels, broadcasting,
// element types and any order of derivative follow from the lambda alone.
#pragma once

#include <array>
#include <tuple>

#include "gradus/autograd/differentiable.hpp"
#include "gradus/ops/formula/kernel.hpp"
#include "gradus/ops/sum_to.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

template <class A>
struct OperandTraits {  // a number: computed with at the operator's compute type
  static constexpr bool is_tensor = false, is_mask = false;
};
template <Element E>
struct OperandTraits<Tensor<E>> {
  static constexpr bool is_tensor = true, is_mask = std::is_same_v<E, bool>;
};

/// The element type an operator works in: that of its first tensor that is not bool.
template <class... A>
struct CommonElement {
  using type = bool;
};
template <class A, class... Rest>
struct CommonElement<A, Rest...> : CommonElement<Rest...> {};
template <Element E, class... Rest>
requires(!std::is_same_v<E, bool>) struct CommonElement<Tensor<E>, Rest...> {
  using type = E;
};
template <class... A>
using Common = typename CommonElement<A...>::type;

/// The element type with which operand A enters a kernel: numbers at the compute type.
template <class T, class A>
struct KernelElement {
  using type = Compute<T>;
};
template <class T, Element E>
struct KernelElement<T, Tensor<E>> {
  static_assert(std::is_same_v<E, T> || std::is_same_v<E, bool>,
                "pointwise: tensors of different element types; convert one with cast<T>(x)");
  using type = E;
};

template <class F, class... A>
using PointwiseKernels = Kernels<F, Common<A...>, typename KernelElement<Common<A...>, A>::type...>;

inline void broadcast_in(const char* name, const TensorImpl& x, Shape& shape, Device& device, bool& first) {
  require<DeviceError>(first || x.storage->device() == device, name, ": tensors on ", device, " and ",
                       x.storage->device(), "; move one with .to(device)");
  shape = first ? x.shape : broadcast_shapes(name, shape, x.shape);
  device = x.storage->device();
  first = false;
}

/// What a gradient keeps of an operand: a tensor with its version, a number, or nothing.
template <class T, class A>
struct KeptOperand {
  Compute<T> value{};
  bool has_node() const { return false; }
  PointwiseOperand operand(const Shape&) const {
    return {reinterpret_cast<const char*>(&value), sizeof(value), {}, false, true};
  }
  Tensor<T> as_tensor() const { return full<T>({}, static_cast<T>(value)); }
};
template <class T, Element E>
struct KeptOperand<T, Tensor<E>> {
  Saved<E> saved;
  E nothing{};
  bool has_node() const { return saved().defined() && saved().requires_grad(); }
  PointwiseOperand operand(const Shape& shape) const {
    const auto& x = saved();
    if (!x.defined()) return {reinterpret_cast<const char*>(&nothing), sizeof(E), {}, false, true};
    return tensor_operand(*x.impl(), shape);
  }
  /// For formulas over tensors. An operand that no derivative reads is any value.
  Tensor<E> as_tensor() const { return saved().defined() ? saved() : full<E>({}, E{}); }
};

template <class F, class T, class... A>
struct PointwiseNode final : NodeWithEdges<T, sizeof...(A)> {
  using Indices = std::index_sequence_for<A...>;
  std::tuple<KeptOperand<T, A>...> operands;
  std::array<Shape, sizeof...(A)> shapes;

  explicit PointwiseNode(const char* op) : NodeWithEdges<T, sizeof...(A)>(op) {}

  void run_backward(BackwardWalk& walk) override { run_backward(walk, Indices{}); }
  void release() override {
    operands = {};
    this->inputs = {};
  }

  /// Keeps operand k when the gradient of some wanted operand reads it.
  void keep(const A&... given) { keep(Indices{}, given...); }

 private:
  template <size_t... K>
  void keep(std::index_sequence<K...> all, const A&... given) {
    uint32_t reads = 0;
    ((reads |= this->inputs[K].node ? reads_of<K>(all) : 0u), ...);
    auto one = [&]<size_t I, class Operand>(std::integral_constant<size_t, I>, const Operand& operand) {
      if constexpr (OperandTraits<Operand>::is_tensor) {
        shapes[I] = operand.shape();
        if ((reads >> I & 1u) != 0) std::get<I>(operands).saved = saved(operand);
      } else {
        std::get<I>(operands).value = static_cast<Compute<T>>(operand);
      }
    };
    (one(std::integral_constant<size_t, K>{}, given), ...);
  }

  template <size_t I, size_t... K>
  static constexpr uint32_t reads_of(std::index_sequence<K...> all) {
    if constexpr (std::is_same_v<std::tuple_element_t<I, std::tuple<A...>>, Tensor<T>>) {
      return trace_gradient<F, I>(all).operands;
    } else {
      return 0;
    }
  }

  template <size_t... K>
  void run_backward(BackwardWalk& walk, std::index_sequence<K...>) {
    Tensor<T> dy(this->gradient);
    auto one = [&]<size_t I>(std::integral_constant<size_t, I>) {
      if constexpr (std::is_same_v<std::tuple_element_t<I, std::tuple<A...>>, Tensor<T>>) {
        if (this->inputs[I].node && this->inputs[I].node->wanted) {
          walk.deliver(this->inputs[I], sum_to(gradient_of_operand<I>(dy), shapes[I]).impl());
        }
      }
    };
    (one(std::integral_constant<size_t, K>{}), ...);
  }

  template <size_t I>
  Tensor<T> gradient_of_operand(const Tensor<T>& dy) {
    if constexpr (trace_gradient<F, I>(Indices{}).is_seed) {
      return dy;
    } else {
      auto has_node =
          dy.requires_grad() || std::apply([](const auto&... kept) { return (kept.has_node() || ...); }, operands);
      if (recording() && has_node) return gradient_by_operators<I>(dy, Indices{});
      return gradient_by_kernel<I>(dy, Indices{});
    }
  }

  template <size_t I, size_t... K>
  Tensor<T> gradient_by_kernel(const Tensor<T>& dy, std::index_sequence<K...>) {
    const PointwiseOperand in[] = {tensor_operand(*dy.impl(), dy.shape()),
                                   std::get<K>(operands).operand(dy.shape())...};
    auto dx = Tensor<T>::empty(dy.shape(), dy.device());
    run_pointwise(&PointwiseKernels<F, A...>::template gradient<I>, *dx.impl(), in, static_cast<int>(sizeof...(A)) + 1);
    return dx;
  }

  /// The same formula in ordinary, recorded operators: a gradient that can be differentiated again.
  template <size_t I, size_t... K>
  Tensor<T> gradient_by_operators(const Tensor<T>& dy, std::index_sequence<K...>) {
    auto operand = [&]<size_t J>(std::integral_constant<size_t, J>) {
      auto value = std::get<J>(operands).as_tensor();
      if constexpr (J == I) return Dual<Tensor<T>>{value, dy};
      else return value;
    };
    auto y = F{}(operand(std::integral_constant<size_t, K>{})...);
    if constexpr (is_dual<decltype(y)>) return y.derivative;
    else return zeros<T>(dy.shape(), dy.device());  // it only compares the operand
  }
};

template <class F>
class Pointwise {
 public:
  constexpr explicit Pointwise(const char* name) : name_(name) {}

  /// Applies the formula to tensors that broadcast, and numbers.
  template <class... A>
  requires(OperandTraits<A>::is_tensor || ...) auto operator()(const A&... operands) const
      -> Tensor<typename PointwiseKernels<F, A...>::Out> {
    static_assert(sizeof...(A) < max_operands,
                  "pointwise: a formula has at most 7 operands; its gradient reads dy too");
    using T = Common<A...>;
    using Out = typename PointwiseKernels<F, A...>::Out;
    auto y = forward(operands...);
    if constexpr (Floating<T> && std::is_same_v<Out, T>) {
      if (grad_enabled() && (requires_grad(operands) || ...)) {
        auto* node = new PointwiseNode<F, T, A...>(name_);
        y.impl()->node = NodeRef(node);
        node->inputs = {edge(operands)...};
        node->keep(operands...);
      }
    }
    return y;
  }

  const char* name() const { return name_; }

 private:
  template <class... A>
  auto forward(const A&... operands) const {
    using K = PointwiseKernels<F, A...>;
    Shape shape;
    Device device;
    bool first = true;
    auto see = [&](const auto& operand) {
      if constexpr (OperandTraits<std::decay_t<decltype(operand)>>::is_tensor) {
        require<ValueError>(operand.defined(), name_, ": a tensor was used before it was given a value");
        broadcast_in(name_, *operand.impl(), shape, device, first);
      }
    };
    (see(operands), ...);
    auto y = Tensor<typename K::Out>::empty(shape, device);
    auto numbers = std::array<Compute<Common<A...>>, sizeof...(A)>{number<Common<A...>>(operands)...};
    size_t k = 0;
    auto describe = [&](const auto& operand) {
      auto* value = &numbers[k++];
      if constexpr (OperandTraits<std::decay_t<decltype(operand)>>::is_tensor)
        return tensor_operand(*operand.impl(), shape);
      else return PointwiseOperand{reinterpret_cast<const char*>(value), sizeof(*value), {}, false, true};
    };
    const PointwiseOperand in[] = {describe(operands)...};
    run_pointwise(&K::forward, *y.impl(), in, static_cast<int>(sizeof...(A)));
    return y;
  }

  template <class T, class A>
  static Compute<T> number(const A& operand) {
    if constexpr (OperandTraits<A>::is_tensor) return {};
    else return static_cast<Compute<T>>(operand);
  }
  template <class A>
  static bool requires_grad(const A& operand) {
    if constexpr (OperandTraits<A>::is_tensor) return operand.requires_grad();
    else return false;
  }
  template <class A>
  static Edge edge(const A& operand) {
    if constexpr (OperandTraits<A>::is_tensor) return edge_of(operand.impl());
    else return {};
  }

  const char* name_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// A number that may stand beside a Tensor<T>: whole numbers with any, fractions with floating types only.
template <class N, class T> concept ScalarFor = std::is_arithmetic_v<N> &&(Floating<T> || std::is_integral_v<N>);

/// Makes an operator from a formula: a generic lambda without captures over "a value", in the vocabulary of
/// arithmetic, comparisons, where, maximum, minimum, exp, log, tanh, sigmoid, ... A number known only at run time
/// is an operand: `pointwise("leaky", [](auto x, auto slope) { return where(x > 0.0, x, slope * x); })(x, 0.1)`.
template <class F>
constexpr detail::Pointwise<F> pointwise(const char* name, F) {
  static_assert(std::is_empty_v<F> && std::is_default_constructible_v<F>,
                "pointwise: the lambda must not capture; a number known at run time is an operand of its own");
  return detail::Pointwise<F>(name);
}

}  // namespace gradus::inline GRADUS_BUILD
