// One plain recurrent layer over a sequence on the CPU: a product and a pass a step.
#pragma once

#include "gradus/ops/recurrent/sequence.hpp"

namespace gradus::inline GRADUS_BUILD {

/// What a plain recurrent layer makes of the sum of its products.
enum class Nonlinearity { tanh, relu };

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// What a plain recurrent layer has as parameters; biases may be null.
template <class T>
struct RnnWeights {
  const T* input;                        ///< (hidden, in)
  const T* recurrent;                    ///< (hidden, hidden)
  const T *input_bias, *recurrent_bias;  ///< (hidden,)
};

template <class T>
void rnn_row(const Compute<T>* sums, const Compute<T>* bias, Nonlinearity f, T* state, int64_t hidden) {
  using C = Compute<T>;
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto sum = load_some<C>(sums + j, count) + load_some<C>(bias + j, count);
    store_some(f == Nonlinearity::tanh ? tanh(sum) : where(sum <= Simd<C>(C(0)), Simd<C>(C(0)), sum), state + j, count);
  }
}

/// From the gradient of one row's state to that of the sum behind it.
template <class T>
void rnn_row_gradient(const T* state, const Compute<T>* d_state, Nonlinearity f, T* d_sum, int64_t hidden) {
  using C = Compute<T>;
  Simd<C> zero(C(0)), one(C(1));
  for (int64_t j = 0; j < hidden; j += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, hidden - j);
    auto h = load_some<C>(state + j, count), dh = load_some<C>(d_state + j, count);
    store_some(f == Nonlinearity::tanh ? dh * (one - h * h) : where(h <= zero, zero, dh), d_sum + j, count);
  }
}

template <class T>
void rnn_forward(const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w, Nonlinearity f, T* states) {
  using C = Compute<T>;
  auto size = s.batch * s.hidden;  // of all states of a step
  StepProduct<T> from_input(transposed_view(w.input, s.hidden, s.in)),
      from_state(transposed_view(w.recurrent, s.hidden, s.hidden));
  Scratch<C> bias(s.hidden);
  add_biases(w.input_bias, w.recurrent_bias, s.hidden, bias.data());
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    StepRows<T> inputs(count, s.in), states_before(count, s.hidden);
    Scratch<C> sums(inputs.padded() * from_input.width());
    for (int64_t k = 0; k < s.steps; ++k) {
      auto t = s.at(k);
      const T* before = k == 0 ? h0 : states + s.at(k - 1) * size;
      inputs.pack(x + (t * s.batch + first) * s.in);
      from_input(inputs, sums.data());
      states_before.pack(before + first * s.hidden);
      from_state(states_before, sums.data(), true);
      for_rows(count, 2 * s.hidden, [&](int64_t i) {
        rnn_row(sums.data() + i * from_input.width(), bias.data(), f, states + t * size + (first + i) * s.hidden,
                s.hidden);
      });
      keep_ended(s, t, {first, count}, before, states + t * size, s.hidden);
    }
  });
}

/// Gradients that the backward pass fills; null where none is wanted, but for the sums'.
template <class T>
struct RnnGradients {
  T *sums, *x, *h0, *input, *recurrent;
};

/// dy (steps, batch, hidden) and dh (batch, hidden) may be null.
template <class T>
void rnn_backward(const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w, Nonlinearity f,
                  const T* states, const T* dy, const T* dh, const RnnGradients<T>& to) {
  using C = Compute<T>;
  auto size = s.batch * s.hidden;
  Scratch<C> d_state(size);
  convert_or_clear(dh, d_state.data(), size);
  StepProduct<T> to_state(rows_view(w.recurrent, s.hidden, s.hidden)),
      to_input(rows_view(w.input, s.hidden, to.x != nullptr ? s.in : 0));
  for_sequence_groups(s.batch, [&](int64_t first, int64_t count) {
    SequenceGroup group{first, count};
    StepRows<T> d_rows(count, s.hidden);
    Scratch<C> sums(d_rows.padded() * std::max(to_state.width(), to_input.width()));
    auto* d_group = d_state.data() + first * s.hidden;
    for (auto k = s.steps - 1; k >= 0; --k) {
      auto t = s.at(k);
      auto* d_sums = to.sums + t * size + first * s.hidden;
      add_shown_gradient(s, t, group, dy, d_group);
      for_rows(count, 2 * s.hidden, [&](int64_t i) {
        auto at = i * s.hidden;
        if (!s.runs(t, first + i)) return std::fill_n(d_sums + at, s.hidden, T(0)), void();
        rnn_row_gradient(states + t * size + first * s.hidden + at, d_group + at, f, d_sums + at, s.hidden);
      });
      d_rows.pack(d_sums);
      to_state(d_rows, sums.data());
      take_state_gradient(s, t, group, sums.data(), to_state.width(), false, d_group);
      if (to.x == nullptr) continue;
      to_input(d_rows, sums.data());
      write_rows(sums.data(), to_input.width(), count, s.in, to.x + (t * s.batch + first) * s.in);
    }
  });
  if (to.h0 != nullptr) convert_run(d_state.data(), size, to.h0);
  sequence_weight_gradients<T>(s, to.sums, s.hidden, x, h0, states, to.input, to.recurrent);
}

}  // namespace gradus::detail::inline GRADUS_BUILD
