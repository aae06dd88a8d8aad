// One LSTM over a sequence on the CPU: a product for the four gates and a fused pass a step.
#pragma once

#include "gradus/ops/recurrent/sequence.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What an LSTM has as parameters; biases and projection may be null.
template <class T>
struct LstmWeights {
  const T* input;                        ///< (4 hidden, in): gates in the order i, f, g, o
  const T* recurrent;                    ///< (4 hidden, out)
  const T *input_bias, *recurrent_bias;  ///< (4 hidden,)
  const T* projection;                   ///< (out, hidden)
};

/// What the forward pass leaves for the backward one.
template <class T>
struct LstmTrace {
  T* gates;   ///< (steps, batch, 4 hidden): i, f, g, o; without `keep` (1, batch, 4 hidden), of the step at hand
  T* cells;   ///< (steps, batch, hidden)
  T* ready;   ///< (steps, batch, hidden): o tanh(cell), before the projection
  T* states;  ///< (steps, batch, out); without a projection it is `ready`
  bool keep = true;
};

/// Gates of one row from the sums of its products; then the new cell and what it shows.
template <class T>
void lstm_row(const Compute<T>* sums, const Compute<T>* bias, const T* cell_before, T* gates, T* cell, T* ready,
              int64_t hidden) {
  using C = Compute<T>;
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto sum = [&](int64_t gate) {
      return load_some<C>(sums + gate * hidden + j, count) + load_some<C>(bias + gate * hidden + j, count);
    };
    auto i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = tanh(sum(2)), o = sigmoid(sum(3));
    auto c = fma(f, load_some<C>(cell_before + j, count), i * g);
    store_some(i, gates + j, count);
    store_some(f, gates + hidden + j, count);
    store_some(g, gates + 2 * hidden + j, count);
    store_some(o, gates + 3 * hidden + j, count);
    store_some(c, cell + j, count);
    store_some(o * tanh(c), ready + j, count);
  }
}

/// From the gradients of one row's `ready` and cell to those of its gates (before their functions) and of the cell
/// before.
template <class T>
void lstm_row_gradient(const T* gates, const T* cell_before, const T* cell, const Compute<T>* d_ready,
                       Compute<T>* d_cell, T* d_gates, int64_t hidden) {
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
  using C = Compute<T>;
  auto width = 4 * s.hidden;
  StepProduct<T> from_input(transposed_view(w.input, width, s.in)),
      from_state(transposed_view(w.recurrent, width, s.out)),
      projection(transposed_view(w.projection, w.projection != nullptr ? s.out : 0, s.hidden));
  Scratch<C> bias(width);
  add_biases(w.input_bias, w.recurrent_bias, width, bias.data());
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    SequenceGroup group{first, count};
    StepRows<T> inputs(count, s.in), states_before(count, s.out),
        to_project(count, w.projection != nullptr ? s.hidden : 0);
    Scratch<C> sums(inputs.padded() * from_input.width()), projected(inputs.padded() * projection.width());
    for (int64_t k = 0; k < s.steps; ++k) {
      auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
      auto* state = k == 0 ? h0 : trace.states + before * s.batch * s.out;
      auto* cell = k == 0 ? c0 : trace.cells + before * s.batch * s.hidden;
      auto *gates = trace.gates + (trace.keep ? t * s.batch * width : 0), *cells = trace.cells + t * s.batch * s.hidden,
           *ready = trace.ready + t * s.batch * s.hidden, *states = trace.states + t * s.batch * s.out;
      inputs.pack(x + (t * s.batch + first) * s.in);
      from_input(inputs, sums.data());
      states_before.pack(state + first * s.out);
      from_state(states_before, sums.data(), true);
      for_rows(count, 8 * s.hidden, [&](int64_t i) {
        auto row = first + i, at = row * s.hidden;
        lstm_row(sums.data() + i * from_input.width(), bias.data(), cell + at, gates + row * width, cells + at,
                 ready + at, s.hidden);
      });
      if (w.projection != nullptr) {
        to_project.pack(ready + first * s.hidden);
        projection(to_project, projected.data());
        write_rows(projected.data(), projection.width(), count, s.out, states + first * s.out);
      }
      keep_ended(s, t, group, state, states, s.out);
      keep_ended(s, t, group, cell, cells, s.hidden);
    }
  });
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
  using C = Compute<T>;
  auto width = 4 * s.hidden, states = s.batch * s.out, cells = s.batch * s.hidden, rows = s.steps * s.batch;
  auto projects = w.projection != nullptr;
  Scratch<C> d_state(states), d_cell(cells);
  Scratch<T> d_states(projects ? rows * s.out : 0);  // of the states that run
  convert_or_clear(dh, d_state.data(), states);
  convert_or_clear(dc, d_cell.data(), cells);
  StepProduct<T> to_state(rows_view(w.recurrent, width, s.out)),
      to_ready(rows_view(w.projection, projects ? s.out : 0, s.hidden)),
      to_input(rows_view(w.input, width, to.x != nullptr ? s.in : 0));
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    SequenceGroup group{first, count};
    StepRows<T> gates(count, width), d_shown(count, projects ? s.out : 0);
    Scratch<C> sums(gates.padded() * std::max(to_state.width(), to_input.width())),
        d_ready(projects ? gates.padded() * to_ready.width() : 0);
    auto* d_group = d_state.data() + first * s.out;
    for (auto k = s.steps - 1; k >= 0; --k) {
      auto t = s.at(k), before = k == 0 ? 0 : s.at(k - 1);
      auto* cell = k == 0 ? c0 : trace.cells + before * cells;
      auto* d_gates = to.gates + (t * s.batch + first) * width;
      add_shown_gradient(s, t, group, dy, d_group);
      auto* shown = d_group;
      auto shown_width = s.out;
      if (projects) {
        auto* d_projected = d_states.data() + t * states + first * s.out;
        for (int64_t i = 0; i < count * s.out; ++i)
          d_projected[i] = s.runs(t, first + i / s.out) ? static_cast<T>(d_group[i]) : T(0);
        d_shown.pack(d_projected);
        to_ready(d_shown, d_ready.data());
        shown = d_ready.data();
        shown_width = to_ready.width();
      }
      for_rows(count, 8 * s.hidden, [&](int64_t i) {
        auto row = first + i, at = row * s.hidden;
        if (!s.runs(t, row)) return std::fill_n(d_gates + i * width, width, T(0)), void();
        lstm_row_gradient(trace.gates + (t * s.batch + row) * width, cell + at, trace.cells + t * cells + at,
                          shown + i * shown_width, d_cell.data() + at, d_gates + i * width, s.hidden);
      });
      gates.pack(d_gates);
      to_state(gates, sums.data());
      take_state_gradient(s, t, group, sums.data(), to_state.width(), false, d_group);
      if (to.x == nullptr) continue;
      to_input(gates, sums.data());
      write_rows(sums.data(), to_input.width(), count, s.in, to.x + (t * s.batch + first) * s.in);
    }
  });
  if (to.h0 != nullptr) convert_run(d_state.data(), states, to.h0);
  if (to.c0 != nullptr) convert_run(d_cell.data(), cells, to.c0);
  sequence_weight_gradients<T>(s, to.gates, width, x, h0, trace.states, to.input, to.recurrent);
  if (to.projection != nullptr)
    gemm(transposed_view<T>(d_states.data(), rows, s.out), rows_view<T>(trace.ready, rows, s.hidden), to.projection,
         s.hidden);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
