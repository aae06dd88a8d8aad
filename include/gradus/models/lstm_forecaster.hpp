#pragma once

#include "gradus/nn/linear.hpp"
#include "gradus/nn/lstm.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct LstmForecasterOptions {
  int64_t hidden = 128, layers = 2;
  double dropout = 0;  ///< between layers, while training
};

/// Reads a window of a time series and says what comes next: x (n, steps, in) -> (n, horizon), from the last state of
/// an LSTM of one or more layers.
template <Floating T>
struct LstmForecaster {
  nn::LSTM<T> lstm;
  nn::Linear<T> output;
  GRADUS_FIELDS(lstm, output)

  LstmForecaster(int64_t in, int64_t horizon, const LstmForecasterOptions& options = {})
      : lstm(in, options.hidden, {.layers = options.layers, .batch_first = true, .dropout = options.dropout}),
        output(options.hidden, horizon) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    auto h = lstm(x).h;               // (layers, n, hidden)
    return output(select(h, 0, -1));  // (n, horizon)
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
