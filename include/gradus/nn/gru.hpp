#pragma once

#include "gradus/nn/layer_path.hpp"
#include "gradus/nn/recurrent.hpp"
#include "gradus/ops/recurrent/gru.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct GruOptions {
  int64_t layers = 1;  ///< each reads the states of the one before
  bool bias = true;
  bool batch_first = false;    ///< input and output are (n, steps, ...) instead of (steps, n, ...)
  double dropout = 0;          ///< share of the states that are dropped between two layers while training
  bool bidirectional = false;  ///< a second GRU a layer goes from the last step to the first; states stand side by side
};

/// What a GRU gives: `auto [y, h] = gru(x);`
template <Floating T>
struct GruResult {
  Tensor<T> y;  ///< states of all steps of the last layer: (steps, n, directions * hidden)
  Tensor<T> h;  ///< last states: (layers * directions, n, hidden)

  Tensor<T> state() const { return h; }
  std::array<Tensor<T>, 2> tensors() const { return {y, h}; }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

template <Floating T>
struct GruCell : RecurrentCell<T> {
  using RecurrentCell<T>::RecurrentCell;

  GruParameters<T> parameters() const {
    return {this->weight_ih.tensor(), this->weight_hh.tensor(), this->bias_ih.tensor(), this->bias_hh.tensor()};
  }
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Gated recurrent units (Cho et al., 2014) of one or more layers: x (steps, n, in) -> GruResult. The parameters have
/// the names, shapes and start of torch.nn.GRU's: weight_ih_l0 (3 hidden, in), weight_hh_l0 (3 hidden, hidden),
/// bias_ih_l0, bias_hh_l0, _reverse behind those of the other direction.
template <Floating T>
struct GRU {
  using State = Tensor<T>;

  GruOptions options;
  int64_t in, hidden;
  std::vector<detail::GruCell<T>> cells;  ///< layer by layer, the direction back after the one forth
  Training training;

  GRU(int64_t inputs, int64_t hidden_size, const GruOptions& gru_options = {})
      : options(gru_options), in(inputs), hidden(hidden_size) {
    detail::check_recurrent("GRU", in, hidden, options.layers, options.dropout);
    for (int64_t k = 0; k < options.layers * directions(); ++k)
      cells.emplace_back(3, k < directions() ? in : directions() * hidden, hidden, hidden, options.bias);
  }

  int64_t directions() const { return options.bidirectional ? 2 : 1; }

  /// `start` (layers * directions, n, hidden); undefined: zeros. `lengths` (n,): how many steps of each sequence count;
  /// y is 0 beyond, h is that of its last step.
  GruResult<T> operator()(const Tensor<T>& x, const Tensor<T>& start = {}, const Tensor<int64_t>& lengths = {}) const {
    return detail::in_layer_of(cells.front().weight_ih, [&]() -> GruResult<T> {
      std::vector<Tensor<T>> last;
      auto y = detail::run_layers(
          "GRU", x, options.batch_first, std::ssize(cells), directions(),
          [&](int64_t k, const Tensor<T>& input, bool reverse) {
            auto h0 = detail::start_of("GRU", "h", start, k, std::ssize(cells), input.size(1), hidden, input.device());
            auto [states, h] =
                gru(input, h0, cells[static_cast<size_t>(k)].parameters(), {.reverse = reverse, .lengths = lengths});
            last.push_back(h);
            return states;
          },
          [&](const Tensor<T>& states) { return dropout(states, options.dropout, training.on); });
      return {y, stack(last)};
    });
  }

  template <class Visitor>
  void visit_fields(Visitor&& visitor) {
    detail::visit_cells(*this, visitor);
  }
  template <class Visitor>
  void visit_fields(Visitor&& visitor) const {
    detail::visit_cells(*this, visitor);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
