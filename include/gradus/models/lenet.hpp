#pragma once

#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Two convolutions and two dense layers for 28 x 28 grey images, in the manner of LeNet-5 (LeCun et al., 1998).
template <Floating T = float>
struct LeNet {
  nn::Conv2d<T> conv1, conv2;
  nn::Linear<T> hidden, output;
  GRADUS_FIELDS(conv1, conv2, hidden, output)

  explicit LeNet(int64_t classes = 10)
      : conv1(1, 32, {.kernel = 3, .padding = 1, .activation = Rectifier::relu}),
        conv2(32, 64, {.kernel = 3, .padding = 1, .activation = Rectifier::relu}),
        hidden(64 * 7 * 7, 128),
        output(128, classes) {}

  Tensor<T> operator()(const Tensor<T>& images) const {  // (n, 1, 28, 28)
    auto x = max_pool2d(conv1(images), 2);               // (n, 32, 14, 14)
    x = max_pool2d(conv2(x), 2);                         // (n, 64, 7, 7)
    return output(relu(hidden(flatten(x))));             // (n, classes)
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD
