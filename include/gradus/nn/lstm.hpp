#pragma once

#include "gradus/nn/layer_path.hpp"
#include "gradus/nn/recurrent.hpp"
#include "gradus/ops/recurrent/lstm.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct LstmOptions {
  int64_t layers = 1;  ///< each reads the states of the one before
  bool bias = true;
  bool batch_first = false;  ///< input and output are (n, steps, ...) instead of (steps, n, ...)
  double dropout = 0;        ///< share of the states that are dropped between two layers while training
  bool bidirectional =
      false;               ///< a second LSTM a layer goes from the last step to the first; states stand side by side
  int64_t projection = 0;  ///< size of the states; 0: as many as hidden
};

/// Where a sequence goes on from; undefined: zeros.
template <Floating T>
struct LstmState {
  Tensor<T> h = {};  ///< (layers * directions, n, out)
  Tensor<T> c = {};  ///< (layers * directions, n, hidden)

  /// The same numbers without their history: what follows sends no gradient back beyond this place.
  LstmState detach() const { return {h.defined() ? h.detach() : h, c.defined() ? c.detach() : c}; }
  std::array<Tensor<T>, 2> tensors() const { return {h, c}; }
};

/// What an LSTM gives: `auto [y, h, c] = lstm(x);`
template <Floating T>
struct LstmResult {
  Tensor<T> y;  ///< states of all steps of the last layer: (steps, n, directions * out)
  Tensor<T> h;  ///< last states: (layers * directions, n, out)
  Tensor<T> c;  ///< last cells: (layers * directions, n, hidden)

  LstmState<T> state() const { return {h, c}; }
  std::array<Tensor<T>, 3> tensors() const { return {y, h, c}; }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

template <Floating T>
struct LstmCell : RecurrentCell<T> {
  using RecurrentCell<T>::RecurrentCell;

  LstmParameters<T> parameters() const {
    return {this->weight_ih.tensor(), this->weight_hh.tensor(), this->bias_ih.tensor(), this->bias_hh.tensor(),
            this->weight_hr.tensor()};
  }
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Long short-term memory (Hochreiter and Schmidhuber, 1997) of one or more layers: x (steps, n, in) -> LstmResult. The
/// parameters have the names, shapes and start of torch.nn.LSTM's: weight_ih_l0 (4 hidden, in), weight_hh_l0 (4 hidden,
/// out), bias_ih_l0, bias_hh_l0, weight_hr_l0 (out, hidden), _reverse behind those of the other direction.
template <Floating T>
struct LSTM {
  using State = LstmState<T>;

  LstmOptions options;
  int64_t in, hidden;
  std::vector<detail::LstmCell<T>> cells;  ///< layer by layer, the direction back after the one forth
  Training training;

  LSTM(int64_t inputs, int64_t hidden_size, const LstmOptions& lstm_options = {})
      : options(lstm_options), in(inputs), hidden(hidden_size) {
    detail::check_recurrent("LSTM", in, hidden, options.layers, options.dropout);
    require<ValueError>(options.projection >= 0 && options.projection < hidden, "LSTM: a projection to ",
                        options.projection, " of ", hidden, " hidden, but it must be smaller");
    for (int64_t layer = 0; layer < options.layers; ++layer) {
      for (int64_t direction = 0; direction < directions(); ++direction)
        cells.emplace_back(4, layer == 0 ? in : directions() * out(), hidden, out(), options.bias);
    }
  }

  int64_t directions() const { return options.bidirectional ? 2 : 1; }
  int64_t out() const { return options.projection > 0 ? options.projection : hidden; }

  /// `lengths` (n,): how many steps of each sequence count; y is 0 beyond, h and c are those of its last step.
  LstmResult<T> operator()(const Tensor<T>& x, const LstmState<T>& state = {},
                           const Tensor<int64_t>& lengths = {}) const {
    return detail::in_layer_of(cells.front().weight_ih, [&] { return run(x, state, lengths); });
  }

  template <class Visitor>
  void visit_fields(Visitor&& visitor) {
    detail::visit_cells(*this, visitor);
  }
  template <class Visitor>
  void visit_fields(Visitor&& visitor) const {
    detail::visit_cells(*this, visitor);
  }

 private:
  LstmResult<T> run(const Tensor<T>& x, const LstmState<T>& state, const Tensor<int64_t>& lengths) const {
    std::vector<Tensor<T>> last_states, last_cells;
    auto count = std::ssize(cells);
    auto y = detail::run_layers(
        "LSTM", x, options.batch_first, count, directions(),
        [&](int64_t k, const Tensor<T>& input, bool reverse) {
          auto n = input.size(1);
          auto h0 = detail::start_of("LSTM", "h", state.h, k, count, n, out(), input.device());
          auto c0 = detail::start_of("LSTM", "c", state.c, k, count, n, hidden, input.device());
          auto [states, h, c] =
              lstm(input, h0, c0, cells[static_cast<size_t>(k)].parameters(), {.reverse = reverse, .lengths = lengths});
          last_states.push_back(h);
          last_cells.push_back(c);
          return states;
        },
        [&](const Tensor<T>& states) { return dropout(states, options.dropout, training.on); });
    return {y, stack(last_states), stack(last_cells)};
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
