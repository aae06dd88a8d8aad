// One step of a recurrent layer as a layer of its own: for loops that do something between two steps.
#pragma once

#include "gradus/nn/gru.hpp"
#include "gradus/nn/lstm.hpp"
#include "gradus/nn/rnn.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct CellOptions {
  bool bias = true;
};
struct RnnCellOptions {
  Nonlinearity nonlinearity = Nonlinearity::tanh;
  bool bias = true;
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

inline int64_t checked_inputs(const char* name, int64_t in, int64_t hidden) {
  check_recurrent(name, in, hidden, 1, 0);
  return in;
}

/// x (n, in) as a sequence of one step.
template <Floating T>
Tensor<T> one_step(const char* name, const Tensor<T>& x) {
  require<ShapeError>(x.rank() == 2, name, ": input is ", x.shape(), ", but must be (n, in)");
  return unsqueeze(x, 0);  // (1, n, in)
}

/// The given state, or zeros.
template <Floating T>
Tensor<T> state_or_zeros(const Tensor<T>& state, const Tensor<T>& x, int64_t hidden) {
  return state.defined() ? state : zeros<T>({x.size(0), hidden}, x.device());
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// One step of an LSTM: x (n, in), state h and c (n, hidden), zeros where undefined -> the next state. Parameters as
/// torch.nn.LSTMCell's: weight_ih (4 hidden, in), weight_hh (4 hidden, hidden), bias_ih, bias_hh.
template <Floating T>
struct LSTMCell : detail::LstmCell<T> {
  LSTMCell(int64_t in, int64_t hidden, CellOptions options = {})
      : detail::LstmCell<T>(4, detail::checked_inputs("LSTMCell", in, hidden), hidden, hidden, options.bias) {}

  LstmState<T> operator()(const Tensor<T>& x, const LstmState<T>& state = {}) const {
    return detail::in_layer_of(this->weight_ih, [&]() -> LstmState<T> {
      auto step = detail::one_step("LSTMCell", x);
      auto hidden = this->weight_hh.shape()[1];
      auto [y, h, c] = lstm(step, detail::state_or_zeros(state.h, x, hidden),
                            detail::state_or_zeros(state.c, x, hidden), this->parameters());
      return {h, c};
    });
  }
};

/// One step of a GRU: x (n, in), state (n, hidden), zeros where undefined -> the next state. Parameters as
/// torch.nn.GRUCell's: weight_ih (3 hidden, in), weight_hh (3 hidden, hidden), bias_ih, bias_hh.
template <Floating T>
struct GRUCell : detail::GruCell<T> {
  GRUCell(int64_t in, int64_t hidden, CellOptions options = {})
      : detail::GruCell<T>(3, detail::checked_inputs("GRUCell", in, hidden), hidden, hidden, options.bias) {}

  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& state = {}) const {
    return detail::in_layer_of(this->weight_ih, [&] {
      auto step = detail::one_step("GRUCell", x);
      return gru(step, detail::state_or_zeros(state, x, this->weight_hh.shape()[1]), this->parameters())[1];
    });
  }
};

/// One step of a plain recurrent layer: x (n, in), state (n, hidden), zeros where undefined -> the next state.
/// Parameters as torch.nn.RNNCell's: weight_ih (hidden, in), weight_hh (hidden, hidden), bias_ih, bias_hh.
template <Floating T>
struct RNNCell : detail::RnnCell<T> {
  RnnCellOptions options;
  GRADUS_FIELDS_OF(detail::RnnCell<T>, options)

  RNNCell(int64_t in, int64_t hidden, RnnCellOptions chosen = {})
      : detail::RnnCell<T>(1, detail::checked_inputs("RNNCell", in, hidden), hidden, hidden, chosen.bias),
        options(chosen) {}

  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& state = {}) const {
    return detail::in_layer_of(this->weight_ih, [&] {
      auto step = detail::one_step("RNNCell", x);
      auto h0 = detail::state_or_zeros(state, x, this->weight_hh.shape()[1]);
      return rnn(step, h0, this->parameters(), options.nonlinearity)[1];
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
