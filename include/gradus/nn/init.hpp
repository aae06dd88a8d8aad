// How weights start.
#pragma once

#include <cmath>

#include "gradus/tensor/creation.hpp"

namespace gradus::nn::init::detail::inline GRADUS_BUILD {

/// How many NoDraws this thread has.
inline int& no_draws() {
  thread_local int count = 0;
  return count;
}

/// draw(), or zeros in its place; the generator goes on by as many words an element in either case.
template <Floating T, class Draw>
Tensor<T> drawn(const Shape& shape, int64_t words, Draw draw) {
  if (no_draws() == 0) return draw();
  default_generator().reserve(words * shape.numel());
  return zeros<T>(shape);
}

}  // namespace gradus::nn::init::detail::inline GRADUS_BUILD

namespace gradus::nn::init::inline GRADUS_BUILD {

/// While one lives, layers that this thread makes start with zeros where they would draw random numbers: for a model
/// whose weights are read right after. What is drawn later is the same as without.
class NoDraws {
 public:
  NoDraws() { ++detail::no_draws(); }
  ~NoDraws() { --detail::no_draws(); }
  NoDraws(const NoDraws&) = delete;
  NoDraws& operator=(const NoDraws&) = delete;
};

/// Uniform in [-1 / sqrt(fan_in), 1 / sqrt(fan_in)): PyTorch's start for dense and convolution layers (He et al., 2015,
/// with a = sqrt(5)). fan_in is the number of inputs that one output sees.
template <Floating T>
Tensor<T> fan_in_uniform(const Shape& shape, int64_t fan_in) {
  auto bound = fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0.0;
  return detail::drawn<T>(shape, 1, [&] { return rand<T>(shape, -bound, bound); });
}

/// Normal with mean 0 and this standard deviation.
template <Floating T>
Tensor<T> normal(const Shape& shape, double deviation) {
  return detail::drawn<T>(shape, 2, [&] { return gradus::detail::normal_numbers<T>(shape, deviation); });
}

/// Normal with variance 2 / fan: for layers followed by relu (He et al., 2015). fan is the number of inputs that one
/// output sees, or of outputs that one input reaches (PyTorch's kaiming_normal_ with fan_in or fan_out).
template <Floating T>
Tensor<T> he_normal(const Shape& shape, int64_t fan) {
  return normal<T>(shape, std::sqrt(2.0 / static_cast<double>(fan)));
}

/// Uniform with variance 2 / (fan_in + fan_out): keeps the size of values and of gradients (Glorot and Bengio, 2010).
/// PyTorch's xavier_uniform_.
template <Floating T>
Tensor<T> xavier_uniform(const Shape& shape, int64_t fan_in, int64_t fan_out) {
  auto bound = std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
  return detail::drawn<T>(shape, 1, [&] { return rand<T>(shape, -bound, bound); });
}

}  // namespace gradus::nn::init::inline GRADUS_BUILD
