// What recurrent operators check and say alike.
#pragma once

#include <algorithm>

#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/recurrent/sequence.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/recurrent/sequence_cuda.hpp"
#endif

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
  require_device(op, x.device(), weight_ih);
  return weight_ih.size(0);
}

template <Floating T>
void check_sequence_part(const char* op, const char* name, const Tensor<T>& part, const Shape& wanted,
                         const Tensor<T>& x, const Tensor<T>& weight_ih) {
  require<ShapeError>(!part.defined() || part.shape() == wanted, op, ": ", name, " is ",
                      part.defined() ? part.shape() : Shape(), ", but must be ", wanted, " beside weight_ih ",
                      weight_ih.shape(), " and input ", x.shape());
  require_device(op, x.device(), part);
}

/// The lengths in memory, or null.
inline const int64_t* check_lengths(const char* op, const Tensor<int64_t>& lengths, int64_t steps, int64_t n) {
  if (!lengths.defined()) return nullptr;
  require<ShapeError>(lengths.shape() == Shape{n}, op, ": lengths are ", lengths.shape(), ", but must be (", n, ",)");
#if defined(GRADUS_CUDA)
  if (!lengths.device().is_cpu()) {
    check_lengths_on_card(op, lengths, steps);
    return lengths.data();
  }
#endif
  auto values = lengths.to_vector();
  for (int64_t i = 0; i < n; ++i) {
    auto length = values[static_cast<size_t>(i)];
    require<ValueError>(length >= 0 && length <= steps, op, ": length ", length, " of sequence ", i, ", but there are ",
                        steps, " steps");
  }
  return lengths.data();
}

/// run() on the CPU, run(device) on a card: where functions have a first argument more.
template <class Run>
void run_on(Device device, Run&& run) {
#if defined(GRADUS_CUDA)
  if (!device.is_cpu()) return run(device);
#endif
  static_cast<void>(device);
  run();
}

/// What a layer shows of its states (steps, n, out): zeros where a sequence has ended. Without lengths, states itself.
template <Floating T>
Tensor<T> shown_states(const SequenceShape& s, const Tensor<T>& states) {
  if (s.lengths == nullptr) return states;
  auto shown = states.clone();
  run_on(states.device(), [&](auto... card) { clear_ended(card..., s, memory_or_null(shown)); });
  return shown;
}

/// Whether the inputs' gradients will be asked for, as far as can be known.
template <class Tensors>
bool records(const Tensors& inputs) {
  return grad_enabled() && std::any_of(inputs.begin(), inputs.end(),
                                       [](const auto& input) { return input.defined() && input.requires_grad(); });
}

}  // namespace gradus::detail::inline GRADUS_BUILD
