// One recurrent layer over a sequence on a GPU: a product and a kernel a step, and one product for all steps of
// whatever can wait. What the functions take is as on the CPU, in the card's memory.
#pragma once

#include "gradus/device/cuda/cublaslt.hpp"
#include "gradus/ops/recurrent/gru_kernel.hpp"
#include "gradus/ops/recurrent/lstm_kernel.hpp"
#include "gradus/ops/recurrent/recurrent_cuda.hpp"
#include "gradus/ops/recurrent/rnn_kernel.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Products and kernels of one operator on a card.
template <Floating T>
class CardSequence {
 public:
  CardSequence(const char* op, Device device, const SequenceShape& s) : op_(op), device_(device), s_(s) {}

  template <class E>
  struct Memory {
    Tensor<E> tensor;
    E* data;
  };
  /// Memory for the time of the call; null where it is not `wanted`.
  template <class E = T>
  Memory<E> memory(int64_t width, bool wanted = true) const {
    if (!wanted) return {{}, nullptr};
    auto tensor = Tensor<E>::empty({s_.batch, width}, device_);
    return {tensor, reinterpret_cast<E*>(tensor.impl()->data())};
  }

  /// d (a.rows, b.columns) = a b, or with `add` d += a b.
  void multiply(const MatrixView<T>& a, const MatrixView<T>& b, T* d, bool add = false) const {
    auto bytes = static_cast<size_t>(a.rows * b.columns) * sizeof(T);
    if (bytes == 0) return;
    if (a.columns == 0) {
      if (!add) cuda::detail::Context::of(device_).set_bytes(d, 0, bytes, op_);
      return;
    }
    auto card = [](const MatrixView<T>& m) {
      return cuda::detail::CardMatrix{m.data, m.rows, m.columns, m.row_stride, m.column_stride};
    };
    cuda::detail::CardProduct product;
    product.type = dtype_of<T>;
    product.a = card(a);
    product.b = card(b);
    product.d = d;
    product.beta = add ? 1 : 0;
    cuda::detail::LtProducts::of(device_).run(product, op_);
  }
  /// Runs a kernel over `count` numbers. Blocks are small, so that the few numbers of a step get many multiprocessors.
  template <class... Arguments>
  void run(const char* kernel, int64_t count, int64_t width, const Arguments&... arguments) const {
    auto threads = width % (16 / int64_t{sizeof(T)}) == 0 ? count * int64_t{sizeof(Compute<T>)} / 16 : count;
    cuda::detail::Grid grid{cuda::detail::Context::of(device_).blocks_for(threads, 64), 64};
    cuda::detail::launch(op_, device_, cuda_recurrent, {dtype_of<T>}, kernel, grid, arguments...);
  }

  /// To the gradient of the first states: what went past the products, if anything did.
  void add_past(const Compute<T>* past, T* d_state) const {
    if (past != nullptr && d_state != nullptr) run("add_past", s_.batch * s_.out, 1, s_.batch * s_.out, d_state, past);
  }
  /// As sequence_weight_gradients on the CPU.
  void weight_gradients(const T* d_gates, int64_t width, const T* x, const T* h0, const T* states, T* to_input,
                        T* to_recurrent) const {
    auto all = s_.steps * s_.batch, rest = all - s_.batch;
    if (to_input != nullptr) multiply(transposed_view(d_gates, all, width), rows_view(x, all, s_.in), to_input);
    if (to_recurrent == nullptr) return;
    auto first = s_.at(0) * s_.batch, others = s_.reverse ? 0 : s_.batch, before = s_.reverse ? s_.batch : 0;
    if (rest > 0)
      multiply(transposed_view(d_gates + others * width, rest, width),
               rows_view(states + before * s_.out, rest, s_.out), to_recurrent);
    multiply(transposed_view(d_gates + first * width, s_.batch, width), rows_view(h0, s_.batch, s_.out), to_recurrent,
             rest > 0);
  }

 private:
  const char* op_;
  Device device_;
  const SequenceShape& s_;
};

template <Floating T>
void lstm_forward(Device device, const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                  const LstmTrace<T>& trace) {
  CardSequence<T> card("lstm", device, s);
  auto width = 4 * s.hidden, size = s.batch * s.hidden, out = s.batch * s.out;
  auto from_state = card.memory(width);
  const T* none = nullptr;
  card.multiply(rows_view(x, s.steps * s.batch, s.in), transposed_view(w.input, width, s.in), trace.gates);
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
    auto* state = k == 0 ? h0 : trace.states + before * out;
    auto* cell = k == 0 ? c0 : trace.cells + before * size;
    auto *ready = trace.ready + t * size, *states = trace.states + t * out;
    card.multiply(rows_view(state, s.batch, s.out), transposed_view(w.recurrent, width, s.out), from_state.data);
    card.run("lstm_step", size, s.hidden, s.batch, s.hidden, t, s.lengths, trace.gates + t * s.batch * width,
             trace.cells + t * size, ready, from_state.data, w.input_bias, w.recurrent_bias, cell,
             w.projection == nullptr ? state : none);
    if (w.projection == nullptr) continue;
    card.multiply(rows_view<T>(ready, s.batch, s.hidden), transposed_view(w.projection, s.out, s.hidden), states);
    if (s.lengths != nullptr) card.run("end_states", out, 1, int64_t{1}, t, s.batch, s.out, s.lengths, states, state);
  }
}

template <Floating T>
void lstm_backward(Device device, const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                   const LstmTrace<const T>& trace, const T* dy, const T* dh, const T* dc, const LstmGradients<T>& to) {
  using C = Compute<T>;
  CardSequence<T> card("lstm", device, s);
  auto width = 4 * s.hidden, size = s.batch * s.hidden, out = s.batch * s.out, rows = s.steps * s.batch;
  auto projects = w.projection != nullptr;
  auto d_state = card.memory(s.out);
  auto past = card.template memory<C>(s.out, s.lengths != nullptr), d_cells = card.template memory<C>(s.hidden);
  auto d_ready = card.memory(s.hidden, projects);
  auto d_states = card.memory(s.steps * s.out, projects);  // of the states that run
  const T* none = nullptr;
  C* no_past = nullptr;
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
    auto is_last = k == s.steps - 1 ? 1 : 0;
    auto* product = is_last ? dh : d_state.data;
    auto* shown = dy != nullptr ? dy + t * out : none;
    if (projects) {
      auto* d_projected = d_states.data + t * out;
      card.run("rnn_step_gradient", out, s.out, s.batch, s.out, t, is_last, 2, s.lengths, d_projected, past.data, none,
               product, shown);
      card.multiply(rows_view<T>(d_projected, s.batch, s.out), rows_view(w.projection, s.out, s.hidden), d_ready.data);
      product = d_ready.data;
      shown = none;
    }
    auto* d_gates = to.gates + t * s.batch * width;
    card.run("lstm_step_gradient", size, s.hidden, s.batch, s.hidden, t, is_last, s.lengths, d_gates, d_cells.data,
             projects ? no_past : past.data, k == 0 ? to.c0 : nullptr, trace.gates + t * s.batch * width,
             trace.cells + t * size, k == 0 ? c0 : trace.cells + before * size, product, shown, dc);
    if (auto* d_before = k == 0 ? to.h0 : d_state.data; d_before != nullptr)
      card.multiply(rows_view<T>(d_gates, s.batch, width), rows_view(w.recurrent, width, s.out), d_before);
  }
  card.add_past(past.data, to.h0);
  if (to.x != nullptr) card.multiply(rows_view<T>(to.gates, rows, width), rows_view(w.input, width, s.in), to.x);
  card.weight_gradients(to.gates, width, x, h0, trace.states, to.input, to.recurrent);
  if (to.projection != nullptr)
    card.multiply(transposed_view<T>(d_states.data, rows, s.out), rows_view(trace.ready, rows, s.hidden),
                  to.projection);
}

template <Floating T>
void gru_forward(Device device, const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w,
                 const GruTrace<T>& trace) {
  CardSequence<T> card("gru", device, s);
  auto width = 3 * s.hidden, size = s.batch * s.hidden;
  auto from_state = card.memory(width);
  card.multiply(rows_view(x, s.steps * s.batch, s.in), transposed_view(w.input, width, s.in), trace.gates);
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k);
    auto* state = k == 0 ? h0 : trace.states + s.at(k - 1) * size;
    auto* inner = trace.keep ? trace.inner + t * size : nullptr;
    card.multiply(rows_view(state, s.batch, s.hidden), transposed_view(w.recurrent, width, s.hidden), from_state.data);
    card.run("gru_step", size, s.hidden, s.batch, s.hidden, t, s.lengths, trace.gates + t * s.batch * width, inner,
             trace.states + t * size, from_state.data, w.input_bias, w.recurrent_bias, state);
  }
}

template <Floating T>
void gru_backward(Device device, const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w,
                  const GruTrace<const T>& trace, const T* dy, const T* dh, const GruGradients<T>& to) {
  CardSequence<T> card("gru", device, s);
  auto width = 3 * s.hidden, size = s.batch * s.hidden, rows = s.steps * s.batch;
  auto d_state = card.memory(s.hidden);
  auto past = card.template memory<Compute<T>>(s.hidden);
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k), place = t * s.batch * width;
    auto is_last = k == s.steps - 1 ? 1 : 0;
    card.run("gru_step_gradient", size, s.hidden, s.batch, s.hidden, t, is_last, s.lengths, to.from_input + place,
             to.from_state + place, past.data, trace.gates + place, trace.inner + t * size,
             k == 0 ? h0 : trace.states + s.at(k - 1) * size, is_last ? dh : d_state.data,
             dy != nullptr ? dy + t * size : nullptr);
    if (auto* d_before = k == 0 ? to.h0 : d_state.data; d_before != nullptr)
      card.multiply(rows_view<T>(to.from_state + place, s.batch, width), rows_view(w.recurrent, width, s.hidden),
                    d_before);
  }
  card.add_past(past.data, to.h0);
  if (to.x != nullptr) card.multiply(rows_view<T>(to.from_input, rows, width), rows_view(w.input, width, s.in), to.x);
  card.weight_gradients(to.from_input, width, x, h0, trace.states, to.input, nullptr);
  card.weight_gradients(to.from_state, width, x, h0, trace.states, nullptr, to.recurrent);
}

template <Floating T>
void rnn_forward(Device device, const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w, Nonlinearity f,
                 T* states) {
  CardSequence<T> card("rnn", device, s);
  auto size = s.batch * s.hidden;
  auto from_state = card.memory(s.hidden);
  card.multiply(rows_view(x, s.steps * s.batch, s.in), transposed_view(w.input, s.hidden, s.in), states);
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k);
    auto* state = k == 0 ? h0 : states + s.at(k - 1) * size;
    card.multiply(rows_view(state, s.batch, s.hidden), transposed_view(w.recurrent, s.hidden, s.hidden),
                  from_state.data);
    card.run("rnn_step", size, s.hidden, s.batch, s.hidden, t, static_cast<int>(f), s.lengths, states + t * size,
             from_state.data, w.input_bias, w.recurrent_bias, state);
  }
}

template <Floating T>
void rnn_backward(Device device, const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w,
                  Nonlinearity f, const T* states, const T* dy, const T* dh, const RnnGradients<T>& to) {
  CardSequence<T> card("rnn", device, s);
  auto size = s.batch * s.hidden, rows = s.steps * s.batch;
  auto d_state = card.memory(s.hidden);
  auto past = card.template memory<Compute<T>>(s.hidden, s.lengths != nullptr);
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k);
    auto is_last = k == s.steps - 1 ? 1 : 0;
    auto* d_sums = to.sums + t * size;
    card.run("rnn_step_gradient", size, s.hidden, s.batch, s.hidden, t, is_last, static_cast<int>(f), s.lengths, d_sums,
             past.data, states + t * size, is_last ? dh : d_state.data, dy != nullptr ? dy + t * size : nullptr);
    if (auto* d_before = k == 0 ? to.h0 : d_state.data; d_before != nullptr)
      card.multiply(rows_view<T>(d_sums, s.batch, s.hidden), rows_view(w.recurrent, s.hidden, s.hidden), d_before);
  }
  card.add_past(past.data, to.h0);
  if (to.x != nullptr) card.multiply(rows_view<T>(to.sums, rows, s.hidden), rows_view(w.input, s.hidden, s.in), to.x);
  card.weight_gradients(to.sums, s.hidden, x, h0, states, to.input, to.recurrent);
}

/// As on the CPU: zeros among the states of sequences that have ended.
template <Floating T>
void clear_ended(Device device, const SequenceShape& s, T* states) {
  const T* none = nullptr;
  CardSequence<T>("recurrent layer", device, s)
      .run("end_states", s.steps * s.batch * s.out, 1, s.steps, int64_t{0}, s.batch, s.out, s.lengths, states, none);
}

/// A length that is out of range is told when the host waits for the card: nobody waits for it here.
inline void check_lengths_on_card(const char* op, const Tensor<int64_t>& lengths, int64_t steps) {
  auto rows = lengths.size(0);
  cuda::detail::launch_each(op, lengths.device(), cuda_recurrent, {DType::f32}, "check_lengths", rows, rows, steps,
                            cuda::detail::Context::of(lengths.device()).fault(), op, lengths.data());
}

}  // namespace gradus::detail::inline GRADUS_BUILD
