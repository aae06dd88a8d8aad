// What recurrent layers of several layers and directions have in common.
#pragma once

#include "gradus/autograd/parameter.hpp"
#include "gradus/nn/init.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// The parameters of one layer in one direction; `gates` matrices each. States are projected when out is not hidden.
template <Floating T>
struct RecurrentCell {
  Parameter<T> weight_ih, weight_hh, bias_ih, bias_hh, weight_hr;
  GRADUS_FIELDS(weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)

  RecurrentCell(int64_t gates, int64_t in, int64_t hidden, int64_t out, bool bias) {
    auto made = [hidden](const Shape& shape) { return Parameter<T>(init::fan_in_uniform<T>(shape, hidden)); };
    weight_ih = made({gates * hidden, in});
    weight_hh = made({gates * hidden, out});
    if (bias) bias_ih = made({gates * hidden});
    if (bias) bias_hh = made({gates * hidden});
    if (out != hidden) weight_hr = made({out, hidden});
  }
};

/// "_l1_reverse": what stands behind the names of cell k's parameters.
inline std::string cell_ending(size_t k, int64_t directions) {
  auto number = static_cast<int64_t>(k);
  return join("_l", number / directions, number % directions == 1 ? "_reverse" : "");
}

/// The fields of a layer with cells, under PyTorch's names.
template <class Layer, class Visitor>
void visit_cells(Layer& layer, Visitor& visitor) {
  for (size_t k = 0; k < layer.cells.size(); ++k) {
    auto ending = cell_ending(k, layer.directions());
    layer.cells[k].visit_fields(
        [&](std::string_view name, auto& parameter) { visitor(join(name, ending), parameter); });
  }
  visitor(std::string_view("training"), layer.training);
}

/// Runs layers one after the other, in one or two directions each: run(k, x (steps, n, in), reverse) -> states of cell
/// k (steps, n, out). Those of two directions stand side by side; drop(states) comes between two layers.
template <Floating T, class Run, class Drop>
Tensor<T> run_layers(const char* name, const Tensor<T>& x, bool batch_first, int64_t cells, int64_t directions,
                     Run&& run, Drop&& drop) {
  require<ShapeError>(x.rank() == 3, name, ": input is ", x.shape(), ", but must be ",
                      batch_first ? "(n, steps, in)" : "(steps, n, in)");
  auto y = batch_first ? transpose(x, 0, 1) : x;  // (steps, n, in)
  for (int64_t k = 0; k < cells;) {
    if (k > 0) y = drop(y);
    std::vector<Tensor<T>> sides;
    for (int64_t direction = 0; direction < directions; ++direction, ++k) sides.push_back(run(k, y, direction == 1));
    y = sides.size() == 1 ? sides[0] : cat(sides, 2);
  }
  return batch_first ? transpose(y, 0, 1) : y;
}

/// Cell k's part of a start (cells, n, size), or zeros where none is given.
template <Floating T>
Tensor<T> start_of(const char* name, const char* part, const Tensor<T>& start, int64_t k, int64_t cells, int64_t n,
                   int64_t size, Device device) {
  Shape wanted{cells, n, size};
  require<ShapeError>(!start.defined() || start.shape() == wanted, name, ": the state ", part, " is ",
                      start.defined() ? start.shape() : Shape(),
                      ", but must be (layers * directions, n, size) = ", wanted);
  return start.defined() ? select(start, 0, k) : zeros<T>({n, size}, device);
}

inline void check_recurrent(const char* name, int64_t in, int64_t hidden, int64_t layers, double dropout) {
  require<ValueError>(in >= 0 && hidden >= 1 && layers >= 1, name, ": ", in, " inputs, ", hidden, " hidden and ",
                      layers, " layers, but there must be at least one of the last two");
  require<ValueError>(dropout >= 0 && dropout < 1, name, ": dropout is ", dropout, ", but must be in [0, 1)");
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD
