// One GRU over a sequence on the CPU: the products with the input in one, then a product and a fused pass a step.
#pragma once

#include "gradus/ops/recurrent/sequence.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// What a GRU has as parameters; biases may be null.
template <class T>
struct GruWeights {
  const T* input;           ///< (3 hidden, in): gates in the order reset, update, new
  const T* recurrent;       ///< (3 hidden, hidden)
  const T* input_bias;      ///< (3 hidden,)
  const T* recurrent_bias;  ///< (3 hidden,)
};

/// What the forward pass leaves for the backward one.
template <class T>
struct GruTrace {
  T* gates;   ///< (steps, batch, 3 hidden): r, z, n
  T* inner;   ///< (steps, batch, hidden): what r multiplies, W_hn h + b_hn
  T* states;  ///< (steps, batch, hidden)
};

/// Gates of one row from the two products; then the new state. `gates` holds the product with the input.
template <class T>
void gru_row(T* gates, const T* recurrent, const T* before, T* inner, T* state, int64_t hidden) {
  using C = Compute<T>;
  Simd<C> one(C(1));
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto* at = gates + j;
    auto r = sigmoid(load_some<C>(at, count) + load_some<C>(recurrent + j, count));
    auto z = sigmoid(load_some<C>(at + hidden, count) + load_some<C>(recurrent + hidden + j, count));
    auto q = load_some<C>(recurrent + 2 * hidden + j, count);
    auto n = tanh(fma(r, q, load_some<C>(at + 2 * hidden, count)));
    store_some(r, at, count);
    store_some(z, at + hidden, count);
    store_some(n, at + 2 * hidden, count);
    store_some(q, inner + j, count);
    store_some(fma(z, load_some<C>(before + j, count), (one - z) * n), state + j, count);
  }
}

/// From the gradient of one row's state to those of both products, and what goes straight on to the state before.
template <class T>
void gru_row_gradient(const T* gates, const T* inner, const T* before, T* d_state, T* d_input, T* d_recurrent,
                      int64_t hidden) {
  using C = Compute<T>;
  Simd<C> one(C(1));
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto* at = gates + j;
    auto r = load_some<C>(at, count), z = load_some<C>(at + hidden, count), n = load_some<C>(at + 2 * hidden, count);
    auto q = load_some<C>(inner + j, count), dh = load_some<C>(d_state + j, count);
    auto dn = dh * (one - z) * (one - n * n);
    auto dz = dh * (load_some<C>(before + j, count) - n) * z * (one - z);
    auto dr = dn * q * r * (one - r);
    store_some(dr, d_input + j, count);
    store_some(dz, d_input + hidden + j, count);
    store_some(dn, d_input + 2 * hidden + j, count);
    store_some(dr, d_recurrent + j, count);
    store_some(dz, d_recurrent + hidden + j, count);
    store_some(dn * r, d_recurrent + 2 * hidden + j, count);
    store_some(dh * z, d_state + j, count);
  }
}

template <class T>
void gru_forward(const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w, const GruTrace<T>& trace) {
  auto width = 3 * s.hidden;
  gemm(rows_view(x, s.steps * s.batch, s.in), transposed_view(w.input, width, s.in), trace.gates, width,
       {.column_bias = w.input_bias});
  Scratch<T> recurrent(s.batch * width);
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k);
    auto* before = k == 0 ? h0 : trace.states + s.at(k - 1) * s.batch * s.hidden;
    auto *gates = trace.gates + t * s.batch * width, *inner = trace.inner + t * s.batch * s.hidden,
         *states = trace.states + t * s.batch * s.hidden;
    gemm(rows_view(before, s.batch, s.hidden), transposed_view(w.recurrent, width, s.hidden), recurrent.data(), width,
         {.column_bias = w.recurrent_bias});
    for_rows(s.batch, 8 * s.hidden, [&](int64_t row) {
      gru_row(gates + row * width, recurrent.data() + row * width, before + row * s.hidden, inner + row * s.hidden,
              states + row * s.hidden, s.hidden);
    });
    keep_ended(s, t, before, states, s.hidden);
  }
}

/// Gradients that the backward pass fills; null where none is wanted, but for the two products'.
template <class T>
struct GruGradients {
  T *from_input, *from_state;  ///< of the products with input and state: (steps, batch, 3 hidden)
  T *x, *h0, *input, *recurrent;
};

/// dy (steps, batch, hidden) and dh (batch, hidden) may be null.
template <class T>
void gru_backward(const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w,
                  const GruTrace<const T>& trace, const T* dy, const T* dh, const GruGradients<T>& to) {
  auto width = 3 * s.hidden, states = s.batch * s.hidden, rows = s.steps * s.batch;
  Scratch<T> d_state(states);
  copy_or_clear(dh, d_state.data(), states);
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k);
    auto* before = k == 0 ? h0 : trace.states + s.at(k - 1) * states;
    add_shown_gradient(s, t, dy, d_state.data());
    for_rows(s.batch, 8 * s.hidden, [&](int64_t row) {
      auto place = (t * s.batch + row) * width;
      if (!s.runs(t, row)) {
        copy_or_clear<T>(nullptr, to.from_input + place, width);
        copy_or_clear<T>(nullptr, to.from_state + place, width);
        return;
      }
      gru_row_gradient(trace.gates + place, trace.inner + (t * s.batch + row) * s.hidden, before + row * s.hidden,
                       d_state.data() + row * s.hidden, to.from_input + place, to.from_state + place, s.hidden);
    });
    gemm(rows_view<T>(to.from_state + t * s.batch * width, s.batch, width), rows_view(w.recurrent, width, s.hidden),
         d_state.data(), s.hidden, {.accumulate = true});
  }
  if (to.h0 != nullptr) std::copy_n(d_state.data(), states, to.h0);
  if (to.x != nullptr) gemm(rows_view<T>(to.from_input, rows, width), rows_view(w.input, width, s.in), to.x, s.in);
  if (to.input != nullptr)
    gemm(transposed_view<T>(to.from_input, rows, width), rows_view(x, rows, s.in), to.input, s.in);
  if (to.recurrent != nullptr) recurrent_weight_gradient<T>(s, to.from_state, width, h0, trace.states, to.recurrent);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
