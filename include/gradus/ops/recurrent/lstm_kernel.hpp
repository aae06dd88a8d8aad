// One LSTM over a sequence on the CPU: the products of all steps in one, then a product and a fused pass a step.
#pragma once

#include "gradus/ops/recurrent/sequence.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What an LSTM has as parameters; biases and projection may be null.
template <class T>
struct LstmWeights {
  const T* input;       ///< (4 hidden, in): gates in the order i, f, g, o
  const T* recurrent;   ///< (4 hidden, out)
  const T* bias;        ///< (4 hidden,)
  const T* projection;  ///< (out, hidden)
};

/// What the forward pass leaves for the backward one.
template <class T>
struct LstmTrace {
  T* gates;   ///< (steps, batch, 4 hidden): i, f, g, o
  T* cells;   ///< (steps, batch, hidden)
  T* ready;   ///< (steps, batch, hidden): o tanh(cell), before the projection
  T* states;  ///< (steps, batch, out); without a projection it is `ready`
};

/// Gates of one row from what the products left in their place; then the new cell and what it shows.
template <class T>
void lstm_row(T* gates, const T* cell_before, T* cell, T* ready, int64_t hidden) {
  using C = Compute<T>;
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto* at = gates + j;
    auto i = sigmoid(load_some<C>(at, count)), f = sigmoid(load_some<C>(at + hidden, count));
    auto g = tanh(load_some<C>(at + 2 * hidden, count)), o = sigmoid(load_some<C>(at + 3 * hidden, count));
    auto c = fma(f, load_some<C>(cell_before + j, count), i * g);
    store_some(i, at, count);
    store_some(f, at + hidden, count);
    store_some(g, at + 2 * hidden, count);
    store_some(o, at + 3 * hidden, count);
    store_some(c, cell + j, count);
    store_some(o * tanh(c), ready + j, count);
  }
}

/// From the gradients of one row's `ready` and cell to those of its gates (before their functions) and of the cell
/// before.
template <class T>
void lstm_row_gradient(const T* gates, const T* cell_before, const T* cell, const T* d_ready, T* d_cell, T* d_gates,
                       int64_t hidden) {
  using C = Compute<T>;
  Simd<C> one(C(1));
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto* at = gates + j;
    auto i = load_some<C>(at, count), f = load_some<C>(at + hidden, count);
    auto g = load_some<C>(at + 2 * hidden, count), o = load_some<C>(at + 3 * hidden, count);
    auto shown = tanh(load_some<C>(cell + j, count)), dh = load_some<C>(d_ready + j, count);
    auto dc = fma(dh * o, one - shown * shown, load_some<C>(d_cell + j, count));
    auto before = load_some<C>(cell_before + j, count);
    store_some(dc * g * i * (one - i), d_gates + j, count);
    store_some(dc * before * f * (one - f), d_gates + hidden + j, count);
    store_some(dc * i * (one - g * g), d_gates + 2 * hidden + j, count);
    store_some(dh * shown * o * (one - o), d_gates + 3 * hidden + j, count);
    store_some(dc * f, d_cell + j, count);
  }
}

template <class T>
void lstm_forward(const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                  const LstmTrace<T>& trace) {
  auto width = 4 * s.hidden;
  gemm(rows_view(x, s.steps * s.batch, s.in), transposed_view(w.input, width, s.in), trace.gates, width,
       {.column_bias = w.bias});
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
    auto* state = k == 0 ? h0 : trace.states + before * s.batch * s.out;
    auto* cell = k == 0 ? c0 : trace.cells + before * s.batch * s.hidden;
    auto *gates = trace.gates + t * s.batch * width, *cells = trace.cells + t * s.batch * s.hidden,
         *ready = trace.ready + t * s.batch * s.hidden, *states = trace.states + t * s.batch * s.out;
    gemm(rows_view(state, s.batch, s.out), transposed_view(w.recurrent, width, s.out), gates, width,
         {.accumulate = true});
    for_rows(s.batch, 8 * s.hidden, [&](int64_t row) {
      lstm_row(gates + row * width, cell + row * s.hidden, cells + row * s.hidden, ready + row * s.hidden, s.hidden);
    });
    if (w.projection != nullptr)
      gemm(rows_view(ready, s.batch, s.hidden), transposed_view(w.projection, s.out, s.hidden), states, s.out);
    keep_ended(s, t, state, states, s.out);
    keep_ended(s, t, cell, cells, s.hidden);
  }
}

/// Gradients that the backward pass fills; null where none is wanted, but for the gates'.
template <class T>
struct LstmGradients {
  T *gates, *x, *h0, *c0, *input, *recurrent, *projection;
};

/// dy (steps, batch, out), dh (batch, out) and dc (batch, hidden) may be null.
template <class T>
void lstm_backward(const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                   const LstmTrace<const T>& trace, const T* dy, const T* dh, const T* dc, const LstmGradients<T>& to) {
  auto width = 4 * s.hidden, states = s.batch * s.out, cells = s.batch * s.hidden;
  Scratch<T> d_state(states), d_cell(cells), d_ready(cells);
  Scratch<T> d_states(w.projection != nullptr ? s.steps * states : 0);
  copy_or_clear(dh, d_state.data(), states);
  copy_or_clear(dc, d_cell.data(), cells);
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
    auto* cell = k == 0 ? c0 : trace.cells + before * cells;
    auto* gates = to.gates + t * s.batch * width;
    add_shown_gradient(s, t, dy, d_state.data());
    auto* shown = d_state.data();
    if (w.projection != nullptr) {
      for (int64_t row = 0; row < s.batch; ++row) {
        auto* into = d_states.data() + t * states + row * s.out;
        copy_or_clear<T>(s.runs(t, row) ? d_state.data() + row * s.out : nullptr, into, s.out);
      }
      gemm(rows_view<T>(d_state.data(), s.batch, s.out), rows_view(w.projection, s.out, s.hidden), d_ready.data(),
           s.hidden);
      shown = d_ready.data();
    }
    for_rows(s.batch, 8 * s.hidden, [&](int64_t row) {
      auto* d_row = gates + row * width;
      if (!s.runs(t, row)) return std::fill_n(d_row, width, T(0)), void();
      lstm_row_gradient(trace.gates + (t * s.batch + row) * width, cell + row * s.hidden,
                        trace.cells + t * cells + row * s.hidden, shown + row * s.hidden,
                        d_cell.data() + row * s.hidden, d_row, s.hidden);
    });
    // What an ended sequence only passed on goes on to the step before; the others' gradient goes through the gates.
    if (s.lengths != nullptr) {
      for (int64_t row = 0; row < s.batch; ++row) {
        if (s.runs(t, row)) std::fill_n(d_state.data() + row * s.out, s.out, T(0));
      }
    }
    gemm(rows_view<T>(gates, s.batch, width), rows_view(w.recurrent, width, s.out), d_state.data(), s.out,
         {.accumulate = s.lengths != nullptr});
  }
  if (to.h0 != nullptr) std::copy_n(d_state.data(), states, to.h0);
  if (to.c0 != nullptr) std::copy_n(d_cell.data(), cells, to.c0);
  auto rows = s.steps * s.batch;
  if (to.x != nullptr) gemm(rows_view<T>(to.gates, rows, width), rows_view(w.input, width, s.in), to.x, s.in);
  if (to.input != nullptr) gemm(transposed_view<T>(to.gates, rows, width), rows_view(x, rows, s.in), to.input, s.in);
  if (to.recurrent != nullptr) recurrent_weight_gradient<T>(s, to.gates, width, h0, trace.states, to.recurrent);
  if (to.projection != nullptr)
    gemm(transposed_view<T>(d_states.data(), rows, s.out), rows_view<T>(trace.ready, rows, s.hidden), to.projection,
         s.hidden);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
