#pragma once

#include "gradus/nn/init.hpp"
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
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// The parameters of one layer in one direction.
template <Floating T>
struct GruCell {
  Parameter<T> weight_ih, weight_hh, bias_ih, bias_hh;

  GruCell(int64_t in, int64_t hidden, bool bias) {
    auto made = [hidden](const Shape& shape) { return Parameter<T>(init::fan_in_uniform<T>(shape, hidden)); };
    weight_ih = made({3 * hidden, in});
    weight_hh = made({3 * hidden, hidden});
    if (bias) bias_ih = made({3 * hidden});
    if (bias) bias_hh = made({3 * hidden});
  }

  GruParameters<T> parameters() const {
    return {weight_ih.tensor(), weight_hh.tensor(), bias_ih.tensor(), bias_hh.tensor()};
  }
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Gated recurrent units (Cho et al., 2014) of one or more layers: x (steps, n, in) -> GruResult. The parameters have
/// the names, shapes and start of torch.nn.GRU's: weight_ih_l0 (3 hidden, in), weight_hh_l0 (3 hidden, hidden),
/// bias_ih_l0, bias_hh_l0, _reverse behind those of the other direction.
template <Floating T>
struct GRU {
  GruOptions options;
  int64_t in, hidden;
  std::vector<detail::GruCell<T>> cells;  ///< layer by layer, the direction back after the one forth
  Training training;

  GRU(int64_t inputs, int64_t hidden_size, const GruOptions& gru_options = {})
      : options(gru_options), in(inputs), hidden(hidden_size) {
    detail::check_recurrent("GRU", in, hidden, options.layers, options.dropout);
    for (int64_t k = 0; k < options.layers * directions(); ++k)
      cells.emplace_back(k < directions() ? in : directions() * hidden, hidden, options.bias);
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
            auto h0 = detail::start_of("GRU", "h", start, k, std::ssize(cells), input.size(1), hidden);
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
      auto ending = detail::cell_ending(k, self.directions());
      visitor("weight_ih" + ending, self.cells[k].weight_ih);
      visitor("weight_hh" + ending, self.cells[k].weight_hh);
      visitor("bias_ih" + ending, self.cells[k].bias_ih);
      visitor("bias_hh" + ending, self.cells[k].bias_hh);
    }
    visitor(std::string_view("training"), self.training);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
