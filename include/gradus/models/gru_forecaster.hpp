#pragma once

#include "gradus/nn/gru.hpp"
#include "gradus/nn/linear.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct GruForecasterOptions {
  int64_t hidden = 128, layers = 2;
  double dropout = 0;  ///< between layers, while training
};

/// Reads a window of a time series and says what comes next: x (n, steps, in) -> (n, horizon), from the last state of
/// a GRU of one or more layers.
template <Floating T>
struct GruForecaster {
  nn::GRU<T> gru;
  nn::Linear<T> output;
  GRADUS_FIELDS(gru, output)

  GruForecaster(int64_t in, int64_t horizon, const GruForecasterOptions& options = {})
      : gru(in, options.hidden, {.layers = options.layers, .batch_first = true, .dropout = options.dropout}),
        output(options.hidden, horizon) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    auto h = gru(x).h;                // (layers, n, hidden)
    return output(select(h, 0, -1));  // (n, horizon)
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
