// What recurrent operators check and say alike.
#pragma once

#include <algorithm>

#include "gradus/ops/indexing/unbind.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::inline GRADUS_BUILD {

/// How a recurrent operator goes through its sequences.
struct SequenceOptions {
  bool reverse = false;          ///< from the last step to the first
  Tensor<int64_t> lengths = {};  ///< (n,): how many steps of each sequence count; undefined: all

  /// Internal: the same with lengths that nobody else can change, on a device.
  SequenceOptions own(Device device) const {
    if (!lengths.defined()) return *this;
    return {reverse, lengths.device() == device ? lengths.clone() : lengths.to(device)};
  }
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// x must be (steps, n, in) and weight_ih (gates * hidden, in); returns gates * hidden.
template <Floating T>
int64_t check_sequence(const char* op, int64_t gates, const Tensor<T>& x, const Tensor<T>& weight_ih) {
  require<ShapeError>(x.rank() == 3 && x.size(0) >= 1, op, ": input is ", x.shape(),
                      ", but must be (steps, n, in) with at least one step");
  require<ShapeError>(weight_ih.rank() == 2 && weight_ih.size(0) % gates == 0 && weight_ih.size(1) == x.size(2), op,
                      ": input is ", x.shape(), " and weight_ih ", weight_ih.shape(), ", but that must be (",
                      gates == 1 ? "" : std::to_string(gates) + ' ', "hidden, ", x.size(2), ")");
  return weight_ih.size(0);
}

template <Floating T>
void check_sequence_part(const char* op, const char* name, const Tensor<T>& part, const Shape& wanted,
                         const Tensor<T>& x, const Tensor<T>& weight_ih) {
  require<ShapeError>(!part.defined() || part.shape() == wanted, op, ": ", name, " is ",
                      part.defined() ? part.shape() : Shape(), ", but must be ", wanted, " beside weight_ih ",
                      weight_ih.shape(), " and input ", x.shape());
}

/// The lengths in memory, or null.
inline const int64_t* check_lengths(const char* op, const Tensor<int64_t>& lengths, int64_t steps, int64_t n) {
  if (!lengths.defined()) return nullptr;
  require<ShapeError>(lengths.shape() == Shape{n}, op, ": lengths are ", lengths.shape(), ", but must be (", n, ",)");
  auto values = lengths.to_vector();
  for (int64_t i = 0; i < n; ++i) {
    auto length = values[static_cast<size_t>(i)];
    require<ValueError>(length >= 0 && length <= steps, op, ": length ", length, " of sequence ", i, ", but there are ",
                        steps, " steps");
  }
  return lengths.data();
}

/// A sequence in recorded operators: step(t, states) -> the states after it, of which the first is shown. Gives what is
/// shown of all steps (steps, n, ...) and the last states. A sequence that has ended keeps its states and shows zeros.
template <Floating T, size_t N, class Step>
std::array<Tensor<T>, N + 1> recorded_steps(int64_t steps, const SequenceOptions& direction,
                                            std::array<Tensor<T>, N> states, Step&& step) {
  std::vector<Tensor<T>> shown(static_cast<size_t>(steps));
  auto zero = zeros<T>(states[0].shape(), states[0].device());
  for (int64_t k = 0; k < steps; ++k) {
    auto t = direction.reverse ? steps - 1 - k : k;
    std::array<Tensor<T>, N> after = step(t, states);
    shown[static_cast<size_t>(t)] = after[0];
    if (direction.lengths.defined()) {
      auto on = unsqueeze(direction.lengths, 1) > t;  // (n, 1)
      shown[static_cast<size_t>(t)] = where(on, after[0], zero);
      for (size_t i = 0; i < N; ++i) after[i] = where(on, after[i], states[i]);
    }
    states = after;
  }
  std::array<Tensor<T>, N + 1> result{stack(shown)};
  std::copy(states.begin(), states.end(), result.begin() + 1);
  return result;
}

/// Whether the inputs' gradients will be asked for, as far as can be known.
template <class Tensors>
bool records(const Tensors& inputs) {
  return grad_enabled() && std::any_of(inputs.begin(), inputs.end(),
                                       [](const auto& input) { return input.defined() && input.requires_grad(); });
}

template <Floating T>
T* writable(Tensor<T>& tensor) {
  return tensor.defined() ? reinterpret_cast<T*>(tensor.impl()->data()) : nullptr;
}
template <Floating T>
const T* readable(const Tensor<T>& tensor) {
  return tensor.defined() ? tensor.data() : nullptr;
}
template <Floating T>
Tensor<T> dense_or_undefined(const Tensor<T>& tensor) {
  return tensor.defined() ? contiguous(tensor.detach()) : tensor;
}

}  // namespace gradus::detail::inline GRADUS_BUILD
