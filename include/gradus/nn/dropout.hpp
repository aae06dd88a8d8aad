#pragma once

#include "gradus/autograd/parameter.hpp"
#include "gradus/ops/dropout.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// Sets elements to 0 with probability p while training, see dropout; after eval(model) it passes x on.
struct Dropout {
  double p = 0.5;
  Training training;
  GRADUS_FIELDS(p, training)

  explicit Dropout(double probability = 0.5) : p(probability) {
    require<ValueError>(p >= 0 && p < 1, "Dropout: p is ", p, ", but must be in [0, 1)");
  }

  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return dropout(x, p, training.on);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
