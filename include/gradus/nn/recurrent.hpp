// What recurrent layers of several layers and directions have in common.
#pragma once

#include "gradus/ops/dropout.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// "_l1_reverse": what stands behind the names of cell k's parameters.
inline std::string cell_ending(size_t k, int64_t directions) {
  auto number = static_cast<int64_t>(k);
  return join("_l", number / directions, number % directions == 1 ? "_reverse" : "");
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
                   int64_t size) {
  Shape wanted{cells, n, size};
  require<ShapeError>(!start.defined() || start.shape() == wanted, name, ": the state ", part, " is ",
                      start.defined() ? start.shape() : Shape(),
                      ", but must be (layers * directions, n, size) = ", wanted);
  return start.defined() ? select(start, 0, k) : zeros<T>({n, size});
}

inline void check_recurrent(const char* name, int64_t in, int64_t hidden, int64_t layers, double dropout) {
  require<ValueError>(in >= 0 && hidden >= 1 && layers >= 1, name, ": ", in, " inputs, ", hidden, " hidden and ",
                      layers, " layers, but there must be at least one of the last two");
  require<ValueError>(dropout >= 0 && dropout < 1, name, ": dropout is ", dropout, ", but must be in [0, 1)");
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD
