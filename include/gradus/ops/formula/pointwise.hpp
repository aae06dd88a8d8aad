// pointwise("name", lambda): a whole operator from one formula. Forward and gradient kernels, broadcasting,
// element types and any order of derivative follow from the lambda alone.
#pragma once

#include <array>
#include <tuple>

#include "gradus/autograd/differentiable.hpp"
#include "gradus/ops/formula/kernel.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/formula/pointwise_cuda.hpp"
#endif
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

/// What a gradient keeps of an operand, its type forgotten: a tensor with its version, a number, or nothing.
struct KeptOperand {
  TensorRef tensor;
  uint32_t version = 0;
  int bytes = 8;  ///< of an element
  alignas(8) char value[8] = {};

  KeptOperand() = default;
  template <class N>
  explicit KeptOperand(N number) : bytes(sizeof(N)) {
    std::memcpy(value, &number, sizeof(N));
  }
  void save(const TensorRef& operand) {
    tensor = operand;
    version = operand->storage->version();
  }
  void check() const {
    if (tensor) check_version(*tensor->storage, version);
  }
  PointwiseOperand operand(const Shape& shape) const {
    return tensor ? tensor_operand(*tensor, shape) : PointwiseOperand{value, bytes, {}, false, true};
  }
  /// For formulas over tensors; A is the operand's type. What no derivative reads is any value.
  template <class T, class A>
  auto as_tensor(Device device) const {
    if constexpr (OperandTraits<A>::is_tensor) {
      return tensor ? A(tensor) : full<typename A::value_type>({}, typename A::value_type{}, device);
    } else {
      Compute<T> number;
      std::memcpy(&number, value, sizeof(number));
      return full<T>({}, static_cast<T>(number), device);
    }
  }
};

/// What a formula with given operand types has come to: functions over forgotten types. All that is not here is
/// compiled once, for all formulas.
struct PointwiseTable {
  struct Gradient {
    PointwiseKernel kernel = nullptr;
    /// The same in ordinary, recorded operators: a gradient that can be differentiated again.
    TensorRef (*by_operators)(const KeptOperand* operands, const TensorRef& dy) = nullptr;
    uint32_t reads = 0;    ///< bit k: it reads operand k
    bool is_seed = false;  ///< it is dy itself
#if defined(GRADUS_CUDA)
    CudaKernelWriterFunction write = nullptr;
#endif
  };
  DType result;
  PointwiseKernel forward;
  std::array<Gradient, max_operands> gradients;  ///< one an operand; empty for numbers and truth values
#if defined(GRADUS_CUDA)
  CudaKernelWriterFunction write = nullptr;
  DType element = DType::f32;                     ///< in which it works
  std::array<CudaOperand, max_operands> types{};  ///< how each operand enters a kernel
#endif
};

template <class F, size_t I, class T, class... A>
GRADUS_COLD TensorRef gradient_by_operators(const KeptOperand* operands, const TensorRef& dy) {
  auto device = dy->storage->device();
  auto operand = [&]<size_t J>(std::integral_constant<size_t, J>) {
    using Given = std::tuple_element_t<J, std::tuple<A...>>;
    if constexpr (J == I) return Dual<Tensor<T>>{operands[J].as_tensor<T, Given>(device), Tensor<T>(dy)};
    else return operands[J].as_tensor<T, Given>(device);
  };
  auto y = [&]<size_t... K>(std::index_sequence<K...>) { return F{}(operand(std::integral_constant<size_t, K>{})...); }
  (std::index_sequence_for<A...>{});
  if constexpr (is_dual<decltype(y)>) return y.derivative.impl();
  else return zeros<T>(dy->shape, dy->storage->device()).impl();  // it only compares the operand
}

/// Own: with the CPU kernels that this unit compiles.
template <bool Own, class F, class... A>
constexpr PointwiseTable make_pointwise_table() {
  using T = Common<A...>;
  using K = PointwiseKernels<F, A...>;
  PointwiseTable table{};
  table.result = dtype_of<typename K::Out>;
  if constexpr (Own) table.forward = &K::forward;
#if defined(GRADUS_CUDA)
  table.write = &write_value_kernel<F, sizeof...(A)>;
  table.element = dtype_of<T>;
  size_t k = 0;
  ((table.types[k++] = {dtype_of<typename KernelElement<T, A>::type>, !OperandTraits<A>::is_tensor}), ...);
#endif
  if constexpr (Floating<T> && std::is_same_v<typename K::Out, T>) {
    auto fill = [&]<size_t I>(std::integral_constant<size_t, I>) {
      if constexpr (std::is_same_v<std::tuple_element_t<I, std::tuple<A...>>, Tensor<T>>) {
        constexpr auto trace = trace_gradient<F, I>(std::index_sequence_for<A...>{});
        auto& gradient = table.gradients[I];
        gradient.reads = trace.operands;
        gradient.is_seed = trace.is_seed;
        if constexpr (!trace.is_seed) {
          if constexpr (Own) gradient.kernel = &K::template gradient<I>;
          gradient.by_operators = &gradient_by_operators<F, I, T, A...>;
#if defined(GRADUS_CUDA)
          gradient.write = &write_gradient_kernel<F, I, sizeof...(A)>;
#endif
        }
      }
    };
    [&]<size_t... I>(std::index_sequence<I...>) { (fill(std::integral_constant<size_t, I>{}), ...); }
    (std::index_sequence_for<A...>{});
  }
  return table;
}
template <class F, class... A>
inline constexpr PointwiseTable pointwise_table = make_pointwise_table<true, F, A...>();

/// An operand in a call, its type forgotten.
struct GivenOperand {
  const TensorRef* tensor;  ///< null: a number
  KeptOperand number;

  PointwiseOperand operand(const Shape& shape) const {
    return tensor != nullptr ? tensor_operand(**tensor, shape) : number.operand(shape);
  }
  Edge edge() const { return tensor != nullptr ? edge_of(*tensor) : Edge{}; }
};

template <class T, class A>
GivenOperand given_operand(const A& operand) {
  if constexpr (OperandTraits<A>::is_tensor) return {&operand.impl(), {}};
  else return {nullptr, KeptOperand(static_cast<Compute<T>>(operand))};
}

/// The shape to which operands broadcast, all on one device.
inline std::pair<Shape, Device> common_shape(const char* name, const GivenOperand* given, int count) {
  Shape shape;
  Device device;
  auto first = true;
  for (int k = 0; k < count; ++k) {
    if (given[k].tensor == nullptr) continue;
    require<ValueError>(static_cast<bool>(*given[k].tensor), name, ": a tensor was used before it was given a value");
    const auto& x = **given[k].tensor;
    require<DeviceError>(first || x.storage->device() == device, name, ": tensors on ", device, " and ",
                         x.storage->device(), "; move one with .to(device)");
    shape = first ? x.shape : broadcast_shapes(name, shape, x.shape);
    device = x.storage->device();
    first = false;
  }
  return {shape, device};
}

/// The dense result, not recorded; on a GPU channels last where an operand of its shape is.
inline TensorRef run_forward(const char* name, const PointwiseTable& table, const GivenOperand* given, int count) {
  auto [shape, device] = common_shape(name, given, count);
  auto last = !device.is_cpu() && std::any_of(given, given + count, [&all = shape](const GivenOperand& one) {
    return one.tensor != nullptr && (*one.tensor)->shape == all && is_channels_last(**one.tensor);
  });
  auto y = allocate_images(table.result, shape, device, last, name);
  PointwiseOperand operands[max_operands];
  for (int k = 0; k < count; ++k) operands[k] = given[k].operand(shape);
#if defined(GRADUS_CUDA)
  if (!device.is_cpu()) {
    run_pointwise_on_card(name, table.write, table.element, table.types.data(), count, *y, operands, nullptr);
    return y;
  }
#endif
  run_pointwise(table.forward, *y, operands, count);
  return y;
}

/// Fills a node: keeps the operands that the gradient of some wanted one reads.
inline void keep_operands(const PointwiseTable& table, std::span<const GivenOperand> given, Edge* inputs, Shape* shapes,
                          KeptOperand* operands) {
  uint32_t reads = 0;
  for (size_t k = 0; k < given.size(); ++k) {
    inputs[k] = given[k].edge();
    if (inputs[k].node) reads |= table.gradients[k].reads;
  }
  for (size_t k = 0; k < given.size(); ++k) {
    operands[k] = given[k].number;
    if (given[k].tensor == nullptr) continue;
    shapes[k] = (*given[k].tensor)->shape;
    operands[k].bytes = size_of((*given[k].tensor)->dtype);
    if ((reads >> k & 1u) != 0) operands[k].save(*given[k].tensor);
  }
}

/// The gradient of one operand, in the shape of dy: in `spare`, dense memory which may be an operand's, where it is
/// given and in order.
inline TensorRef pointwise_gradient(const char* name, const PointwiseTable& table, size_t input,
                                    std::span<const KeptOperand> operands, const TensorRef& dy,
                                    const TensorRef& spare = {}) {
  const auto& of = table.gradients[input];
  if (of.is_seed) return dy;
  for (const auto& kept : operands) kept.check();
  if (recording()) {
    auto has_node = static_cast<bool>(dy->node);
    for (const auto& kept : operands) has_node |= kept.tensor && kept.tensor->node;
    if (has_node) return of.by_operators(operands.data(), dy);
  }
  PointwiseOperand in[max_operands];
  in[0] = tensor_operand(*dy, dy->shape);
  for (size_t k = 0; k < operands.size(); ++k) in[k + 1] = operands[k].operand(dy->shape);
  auto device = dy->storage->device();
  auto last = !device.is_cpu() &&
              (is_channels_last(*dy) || std::any_of(operands.begin(), operands.end(), [&](const KeptOperand& kept) {
                 return kept.tensor && kept.tensor->shape == dy->shape && is_channels_last(*kept.tensor);
               }));
  auto dx = spare && !last ? spare : allocate_images(dy->dtype, dy->shape, device, last);
#if defined(GRADUS_CUDA)
  if (!device.is_cpu()) {
    run_pointwise_on_card(name, of.write, table.element, table.types.data(), static_cast<int>(operands.size()), *dx,
                          in + 1, in);
    return dx;
  }
#endif
  static_cast<void>(name);
  run_pointwise(of.kernel, *dx, in, static_cast<int>(operands.size()) + 1);
  return dx;
}

template <Floating T, size_t N>
struct PointwiseNode : NodeWithEdges<T, N> {
  const PointwiseTable& table;
  std::array<KeptOperand, N> operands;

  PointwiseNode(const char* op, const PointwiseTable& what, const GivenOperand* given)
      : NodeWithEdges<T, N>(op), table(what) {
    keep_operands(table, {given, N}, this->inputs.data(), this->shapes.data(), operands.data());
  }

  void run_backward(BackwardWalk& walk) override {
    for (size_t k = 0; k < N; ++k) {
      if (!this->inputs[k].node || !this->inputs[k].node->wanted) continue;
      walk.deliver(
          this->inputs[k],
          sum_to(Tensor<T>(pointwise_gradient(this->name, table, k, operands, this->gradient)), this->shapes[k])
              .impl());
    }
  }
  void release() override {
    operands = {};
    this->inputs = {};
  }
};

/// Makes y's node when one of the operands has one.
template <Floating T, size_t N>
void record_pointwise(const char* name, const PointwiseTable& table, const GivenOperand* given, TensorImpl& y) {
  if (!grad_enabled()) return;
  for (size_t k = 0; k < N; ++k) {
    if (given[k].tensor == nullptr || !(*given[k].tensor)->node) continue;
    y.node = NodeRef(new PointwiseNode<T, N>(name, table, given));
    return;
  }
}

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
    return apply(table<A...>(), operands...);
  }

  const char* name() const { return name_; }
  template <class... A>
  static const PointwiseTable& table() {
    return pointwise_table<F, A...>;
  }

 protected:
  template <class... A>
  auto apply(const PointwiseTable& table, const A&... operands) const {
    using T = Common<A...>;
    using Out = typename PointwiseKernels<F, A...>::Out;
    const GivenOperand given[] = {given_operand<T>(operands)...};
    auto y = run_forward(name_, table, given, static_cast<int>(sizeof...(A)));
    if constexpr (Floating<T> && std::is_same_v<Out, T>) record_pointwise<T, sizeof...(A)>(name_, table, given, *y);
    watch_output(name_, y);
    return Tensor<Out>(std::move(y));
  }

 private:
  const char* name_;
};

#if defined(GRADUS_COMPILED)
/// Whether gradus::compiled has a library formula's kernels for operands E... when it works in T.
template <class T, class... E>
constexpr bool formula_is_compiled() {
  if constexpr (Compiled<T>) {
    constexpr bool plain[] = {(std::is_same_v<E, T> || std::is_same_v<E, Compute<T>>)...};
    constexpr bool condition[] = {std::is_same_v<E, bool>...};
    for (size_t k = 0; k < sizeof...(E); ++k) {
      if (!plain[k] && !(k == 0 && sizeof...(E) == 3 && condition[k])) return false;
    }
    return true;
  }
  return false;
}

/// `table` with the library's kernels of that formula.
GRADUS_COLD inline PointwiseTable with_compiled_kernels(const char* name, PointwiseTable table,
                                                        const CompiledKernels& library, std::span<const DType> types) {
  for (const auto& one : std::span(library.formulas, library.formula_count)) {
    if (std::string_view(one.name) != name || one.operands != static_cast<int>(types.size()) ||
        !std::equal(types.begin(), types.end(), one.types.begin()))
      continue;
    table.forward = one.forward;
    for (size_t k = 0; k < types.size(); ++k) table.gradients[k].kernel = one.gradients[k];
    return table;
  }
  fail<ValueError>({name, ": gradus::compiled has no such formula; it was built from other headers"});
}

/// A formula of the library's own: its kernels come from gradus::compiled where that has them.
template <class F>
class LibraryPointwise : public Pointwise<F> {
 public:
  using Pointwise<F>::Pointwise;

  template <class... A>
  requires(OperandTraits<A>::is_tensor || ...) auto operator()(const A&... operands) const
      -> Tensor<typename PointwiseKernels<F, A...>::Out> {
    return this->apply(table<A...>(), operands...);
  }

  template <class... A>
  const PointwiseTable& table() const {
    using T = Common<A...>;
    if constexpr (formula_is_compiled<T, typename KernelElement<T, A>::type...>()) {
      static constexpr DType types[] = {dtype_of<typename KernelElement<T, A>::type>...};
      static const PointwiseTable table = with_compiled_kernels(this->name(), make_pointwise_table<false, F, A...>(),
                                                                compiled_kernels(std::type_identity<T>()), types);
      return table;
    } else {
      return pointwise_table<F, A...>;
    }
  }
};

/// What the library's headers find, in this namespace, as pointwise(name, lambda); users find the one below.
template <class F>
constexpr LibraryPointwise<F> pointwise(const char* name, F) {
  return LibraryPointwise<F>(name);
}
#endif

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
