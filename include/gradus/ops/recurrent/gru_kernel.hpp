// One GRU over a sequence on the CPU: two products and a fused pass a step.
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
  T* gates;   ///< (steps, batch, 3 hidden): r, z, n; without `keep` (1, batch, 3 hidden), of the step at hand
  T* inner;   ///< (steps, batch, hidden): what r multiplies, W_hn h + b_hn; without `keep` as the gates
  T* states;  ///< (steps, batch, hidden)
  bool keep = true;
};

/// Gates of one row from the sums of its products, each with its biases; then the new state.
template <class T>
void gru_row(const Compute<T>* from_input, const Compute<T>* from_state, const Compute<T>* input_bias,
             const Compute<T>* state_bias, const T* before, T* gates, T* inner, T* state, int64_t hidden) {
  using C = Compute<T>;
  Simd<C> one(C(1));
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto sum = [&](const C* sums, const C* bias, int64_t gate) {
      return load_some<C>(sums + gate * hidden + j, count) + load_some<C>(bias + gate * hidden + j, count);
    };
    auto r = sigmoid(sum(from_input, input_bias, 0) + sum(from_state, state_bias, 0));
    auto z = sigmoid(sum(from_input, input_bias, 1) + sum(from_state, state_bias, 1));
    auto q = sum(from_state, state_bias, 2);
    auto n = tanh(fma(r, q, sum(from_input, input_bias, 2)));
    store_some(r, gates + j, count);
    store_some(z, gates + hidden + j, count);
    store_some(n, gates + 2 * hidden + j, count);
    store_some(q, inner + j, count);
    store_some(fma(z, load_some<C>(before + j, count), (one - z) * n), state + j, count);
  }
}

/// From the gradient of one row's state to those of both products, and what goes straight on to the state before.
template <class T>
void gru_row_gradient(const T* gates, const T* inner, const T* before, Compute<T>* d_state, T* d_input, T* d_recurrent,
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
  using C = Compute<T>;
  auto width = 3 * s.hidden;
  StepProduct<T> product_with_input(transposed_view(w.input, width, s.in)),
      product_with_state(transposed_view(w.recurrent, width, s.hidden));
  Scratch<C> input_bias(width), state_bias(width);
  convert_or_clear(w.input_bias, input_bias.data(), width);
  convert_or_clear(w.recurrent_bias, state_bias.data(), width);
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    StepRows<T> inputs(count, s.in), states_before(count, s.hidden);
    Scratch<C> from_input(inputs.padded() * product_with_input.width()),
        from_state(inputs.padded() * product_with_input.width());
    for (int64_t k = 0; k < s.steps; ++k) {
      auto t = s.at(k);
      auto* before = k == 0 ? h0 : trace.states + s.at(k - 1) * s.batch * s.hidden;
      auto kept = trace.keep ? t * s.batch : 0;
      auto *gates = trace.gates + kept * width, *inner = trace.inner + kept * s.hidden,
           *states = trace.states + t * s.batch * s.hidden;
      inputs.pack(x + (t * s.batch + first) * s.in);
      product_with_input(inputs, from_input.data());
      states_before.pack(before + first * s.hidden);
      product_with_state(states_before, from_state.data());
      for_rows(count, 8 * s.hidden, [&](int64_t i) {
        auto row = first + i, at = row * s.hidden, sum = i * product_with_input.width();
        gru_row(from_input.data() + sum, from_state.data() + sum, input_bias.data(), state_bias.data(), before + at,
                gates + row * width, inner + at, states + at, s.hidden);
      });
      keep_ended(s, t, {first, count}, before, states, s.hidden);
    }
  });
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
  using C = Compute<T>;
  auto width = 3 * s.hidden, states = s.batch * s.hidden;
  Scratch<C> d_state(states);
  convert_or_clear(dh, d_state.data(), states);
  StepProduct<T> to_state(rows_view(w.recurrent, width, s.hidden)),
      to_input(rows_view(w.input, width, to.x != nullptr ? s.in : 0));
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    SequenceGroup group{first, count};
    StepRows<T> gates(count, width);
    Scratch<C> sums(gates.padded() * std::max(to_state.width(), to_input.width()));
    auto* d_group = d_state.data() + first * s.hidden;
    for (auto k = s.steps - 1; k >= 0; --k) {
      auto t = s.at(k);
      auto* before = k == 0 ? h0 : trace.states + s.at(k - 1) * states;
      add_shown_gradient(s, t, group, dy, d_group);
      for_rows(count, 8 * s.hidden, [&](int64_t i) {
        auto row = first + i, place = (t * s.batch + row) * width;
        if (!s.runs(t, row)) {
          std::fill_n(to.from_input + place, width, T(0));
          std::fill_n(to.from_state + place, width, T(0));
          return;
        }
        gru_row_gradient(trace.gates + place, trace.inner + t * states + row * s.hidden, before + row * s.hidden,
                         d_group + i * s.hidden, to.from_input + place, to.from_state + place, s.hidden);
      });
      gates.pack(to.from_state + (t * s.batch + first) * width);
      to_state(gates, sums.data());
      take_state_gradient(s, t, group, sums.data(), to_state.width(), true, d_group);
      if (to.x == nullptr) continue;
      gates.pack(to.from_input + (t * s.batch + first) * width);
      to_input(gates, sums.data());
      write_rows(sums.data(), to_input.width(), count, s.in, to.x + (t * s.batch + first) * s.in);
    }
  });
  if (to.h0 != nullptr) convert_run(d_state.data(), states, to.h0);
  sequence_weight_gradients<T>(s, to.from_input, width, x, h0, trace.states, to.input, nullptr);
  sequence_weight_gradients<T>(s, to.from_state, width, x, h0, trace.states, nullptr, to.recurrent);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
