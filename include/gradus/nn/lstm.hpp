#pragma once

#include "gradus/nn/init.hpp"
#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/dropout.hpp"
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

/// What an LSTM gives: `auto [y, h, c] = lstm(x);`
template <Floating T>
struct LstmResult {
  Tensor<T> y;  ///< states of all steps of the last layer: (steps, n, directions * out)
  Tensor<T> h;  ///< last states: (layers * directions, n, out)
  Tensor<T> c;  ///< last cells: (layers * directions, n, hidden)
};

/// Where a sequence goes on from; undefined: zeros.
template <Floating T>
struct LstmState {
  Tensor<T> h = {};  ///< (layers * directions, n, out)
  Tensor<T> c = {};  ///< (layers * directions, n, hidden)
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// The parameters of one layer in one direction.
template <Floating T>
struct LstmCell {
  Parameter<T> weight_ih, weight_hh, bias_ih, bias_hh, weight_hr;

  LstmCell(int64_t in, int64_t hidden, int64_t out, bool bias, bool projects) {
    auto made = [hidden](const Shape& shape) { return Parameter<T>(init::fan_in_uniform<T>(shape, hidden)); };
    weight_ih = made({4 * hidden, in});
    weight_hh = made({4 * hidden, out});
    if (bias) bias_ih = made({4 * hidden});
    if (bias) bias_hh = made({4 * hidden});
    if (projects) weight_hr = made({out, hidden});
  }

  LstmParameters<T> parameters() const {
    return {weight_ih.tensor(), weight_hh.tensor(), bias_ih.tensor(), bias_hh.tensor(), weight_hr.tensor()};
  }
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Long short-term memory (Hochreiter and Schmidhuber, 1997) of one or more layers: x (steps, n, in) -> LstmResult. The
/// parameters have the names, shapes and start of torch.nn.LSTM's: weight_ih_l0 (4 hidden, in), weight_hh_l0 (4 hidden,
/// out), bias_ih_l0, bias_hh_l0, weight_hr_l0 (out, hidden), _reverse behind those of the other direction.
template <Floating T>
struct LSTM {
  LstmOptions options;
  int64_t in, hidden;
  std::vector<detail::LstmCell<T>> cells;  ///< layer by layer, the direction back after the one forth
  Training training;

  LSTM(int64_t inputs, int64_t hidden_size, const LstmOptions& lstm_options = {})
      : options(lstm_options), in(inputs), hidden(hidden_size) {
    require<ValueError>(in >= 0 && hidden >= 1 && options.layers >= 1, "LSTM: ", in, " inputs, ", hidden,
                        " hidden and ", options.layers, " layers, but there must be at least one of the last two");
    require<ValueError>(options.dropout >= 0 && options.dropout < 1, "LSTM: dropout is ", options.dropout,
                        ", but must be in [0, 1)");
    require<ValueError>(options.projection >= 0 && options.projection < hidden, "LSTM: a projection to ",
                        options.projection, " of ", hidden, " hidden, but it must be smaller");
    for (int64_t layer = 0; layer < options.layers; ++layer) {
      for (int64_t direction = 0; direction < directions(); ++direction)
        cells.emplace_back(layer == 0 ? in : directions() * out(), hidden, out(), options.bias, options.projection > 0);
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
    visit(*this, visitor);
  }
  template <class Visitor>
  void visit_fields(Visitor&& visitor) const {
    visit(*this, visitor);
  }

 private:
  template <class Self, class Visitor>
  static void visit(Self& self, Visitor& visitor) {
    for (size_t k = 0; k < self.cells.size(); ++k) {
      auto& cell = self.cells[k];
      auto layer = static_cast<int64_t>(k) / self.directions(), direction = static_cast<int64_t>(k) % self.directions();
      auto ending = join("_l", layer, direction == 1 ? "_reverse" : "");
      visitor("weight_ih" + ending, cell.weight_ih);
      visitor("weight_hh" + ending, cell.weight_hh);
      visitor("bias_ih" + ending, cell.bias_ih);
      visitor("bias_hh" + ending, cell.bias_hh);
      visitor("weight_hr" + ending, cell.weight_hr);
    }
    visitor(std::string_view("training"), self.training);
  }

  LstmResult<T> run(const Tensor<T>& x, const LstmState<T>& state, const Tensor<int64_t>& lengths) const {
    require<ShapeError>(x.rank() == 3, "LSTM: input is ", x.shape(), ", but must be ",
                        options.batch_first ? "(n, steps, in)" : "(steps, n, in)");
    auto y = options.batch_first ? transpose(x, 0, 1) : x;  // (steps, n, in)
    auto n = y.size(1), count = std::ssize(cells);
    auto check = [&](const char* name, const Tensor<T>& part, int64_t size) {
      require<ShapeError>(!part.defined() || part.shape() == Shape{count, n, size}, "LSTM: ", name, " is ",
                          part.defined() ? part.shape() : Shape(), ", but must be (layers * directions, n, ",
                          size == hidden ? "hidden" : "out", ") = ", Shape{count, n, size});
    };
    check("the state h", state.h, out());
    check("the state c", state.c, hidden);
    std::vector<Tensor<T>> last_states, last_cells;
    for (int64_t k = 0; k < count;) {
      if (k > 0) y = dropout(y, options.dropout, training.on);
      std::vector<Tensor<T>> sides;
      for (int64_t direction = 0; direction < directions(); ++direction, ++k) {
        auto h0 = state.h.defined() ? select(state.h, 0, k) : zeros<T>({n, out()});
        auto c0 = state.c.defined() ? select(state.c, 0, k) : zeros<T>({n, hidden});
        auto [side, h, c] = lstm(y, h0, c0, cells[static_cast<size_t>(k)].parameters(),
                                 {.reverse = direction == 1, .lengths = lengths});
        sides.push_back(side);
        last_states.push_back(h);
        last_cells.push_back(c);
      }
      y = sides.size() == 1 ? sides[0] : cat(sides, 2);
    }
    return {options.batch_first ? transpose(y, 0, 1) : y, stack(last_states), stack(last_cells)};
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
