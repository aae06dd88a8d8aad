// Operators as layers without parameters, to stand in a Sequential.
#pragma once

#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/sigmoid.hpp"
#include "gradus/ops/pointwise/silu.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/window/avg_pool2d.hpp"
#include "gradus/ops/window/global_pool.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct Relu {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return relu(x);
  }
};
struct Gelu {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return gelu(x);
  }
};
struct Silu {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return silu(x);
  }
};
struct Tanh {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return tanh(x);
  }
};
struct Sigmoid {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return sigmoid(x);
  }
};

/// (n, a, b, ...) -> (n, a * b * ...).
struct Flatten {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return flatten(x);
  }
};

/// Largest element of each window, see max_pool2d.
struct MaxPool2d {
  Size2d kernel = 2;
  PoolOptions options = {};

  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return max_pool2d(x, kernel, options);
  }
};

/// Mean of each window, see avg_pool2d.
struct AvgPool2d {
  Size2d kernel = 2;
  AvgPoolOptions options = {};

  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return avg_pool2d(x, kernel, options);
  }
};

/// Mean of each channel, (n, c, h, w) -> (n, c), see global_avg_pool2d.
struct GlobalAvgPool2d {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return global_avg_pool2d(x);
  }
};

/// Largest element of each channel, (n, c, h, w) -> (n, c), see global_max_pool2d.
struct GlobalMaxPool2d {
  template <Floating T>
  Tensor<T> operator()(const Tensor<T>& x) const {
    return global_max_pool2d(x);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD
