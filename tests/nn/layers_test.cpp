// Layers against torch.nn's, with the weights given as operands.
#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/embedding.hpp"
#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/stateless.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
from torch.func import functional_call

def layer(module):
    module = module.double()
    def run(x, weight, bias=None):
        given = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return functional_call(module, given, (x,))
    return run

nn = torch.nn
case("linear", layer(nn.Linear(5, 3)), randn(4, 5), randn(3, 5), randn(3))
case("linear", layer(nn.Linear(5, 3)), randn(2, 3, 5), randn(3, 5), randn(3))
case("linear without bias", layer(nn.Linear(5, 3, bias=False)), randn(4, 5), randn(3, 5))
case("conv", layer(nn.Conv2d(2, 3, 3, padding=1)), randn(2, 2, 5, 4), randn(3, 2, 3, 3), randn(3))
case("conv with options", layer(nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2)),
     randn(2, 4, 5, 4), randn(6, 2, 3, 2), randn(6))
case("conv without bias", layer(nn.Conv2d(2, 3, 1, bias=False)), randn(2, 2, 3, 3), randn(3, 2, 1, 1))
case("batch norm", layer(nn.BatchNorm2d(3, eps=0.01)), randn(2, 3, 2, 4), randn(3), randn(3))
case("max pool", nn.MaxPool2d(3, 2, 1), distinct(1, 2, 6, 5))
case("average pool", nn.AvgPool2d((2, 3), 1), randn(1, 2, 4, 5))
case("flatten", nn.Flatten(), randn(2, 3, 2, 2))
for name, module in dict(relu=nn.ReLU(), gelu=nn.GELU(), silu=nn.SiLU(), tanh=nn.Tanh(),
                         sigmoid=nn.Sigmoid()).items():
    case("nn " + name, module, distinct(3, 7) / 8 + 1.0 / 512)
case("layer norm", layer(nn.LayerNorm((3, 4), eps=0.01)), randn(2, 3, 4), randn(3, 4), randn(3, 4))
case("layer norm without bias", layer(nn.LayerNorm(5, bias=False)), randn(4, 5), randn(5))
case("layer norm without parameters", nn.LayerNorm(5, elementwise_affine=False), randn(4, 5))
case("embedding", layer(nn.Embedding(7, 3)), integers(0, 7, 2, 4), randn(7, 3))
case("embedding with padding", layer(nn.Embedding(7, 3, padding_idx=-5)), integers(0, 7, 4, 3), randn(7, 3), order=1)
case("global average pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), randn(2, 3, 2, 4))
case("global max pool", nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), distinct(2, 3, 2, 4))
*/

using namespace gradus;
using test::check_operator;

namespace {

/// A layer of element type T with these weights in it.
template <template <class> class Layer, Floating T, class... A>
Layer<T> with_weights(const Tensor<T>& weight, const Tensor<T>& bias, A... arguments) {
  Layer<T> layer(arguments...);
  layer.weight = Parameter<T>(weight);
  if (bias.defined()) layer.bias = Parameter<T>(bias);
  return layer;
}

template <class T>
using Linear = nn::Linear<T>;
template <class T>
using Conv2d = nn::Conv2d<T>;
template <class T>
using BatchNorm2d = nn::BatchNorm2d<T>;
template <class T>
using LayerNorm = nn::LayerNorm<T>;

auto embedding_layer(EmbeddingOptions options) {
  return [options]<class T>(const Tensor<int64_t>& ids, const Tensor<T>& weight) {
    nn::Embedding<T> layer(7, 3, options);
    layer.weight = Parameter<T>(weight);
    return layer(ids);
  };
}

}  // namespace

TEST_CASE("Linear is torch.nn.Linear") {
  check_operator<double>("linear", []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return with_weights<Linear>(weight, bias, 5, 3)(x);
  });
  check_operator<double>("linear without bias", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) {
    return with_weights<Linear>(weight, Tensor<T>(), 5, 3, nn::LinearOptions{.bias = false})(x);
  });
}

TEST_CASE("Conv2d is torch.nn.Conv2d") {
  auto call = [](int64_t in, int64_t out, nn::Conv2dOptions options) {
    return [=]<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
      return with_weights<Conv2d>(weight, bias, in, out, options)(x);
    };
  };
  check_operator<double>("conv", call(2, 3, {.kernel = 3, .padding = 1}), {}, __FILE__);
  check_operator<double>(
      "conv with options",
      call(4, 6, {.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2}), {},
      __FILE__);
  check_operator<double>("conv without bias", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) {
    return with_weights<Conv2d>(weight, Tensor<T>(), 2, 3, nn::Conv2dOptions{.kernel = 1, .bias = false})(x);
  });
}

TEST_CASE("BatchNorm2d in training is torch.nn.BatchNorm2d") {
  check_operator<double>("batch norm",
                         []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
                           return with_weights<BatchNorm2d>(weight, bias, 3, nn::BatchNorm2dOptions{.eps = 0.01})(x);
                         },
                         {.double_tolerance = 1e-11});
}

TEST_CASE("LayerNorm is torch.nn.LayerNorm") {
  check_operator<double>(
      "layer norm",
      []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
        return with_weights<LayerNorm>(weight, bias, Shape{3, 4}, nn::LayerNormOptions{.eps = 0.01})(x);
      },
      {.double_tolerance = 1e-11});
  check_operator<double>("layer norm without bias", []<class T>(const Tensor<T>& x, const Tensor<T>& weight) {
    return with_weights<LayerNorm>(weight, Tensor<T>(), 5, nn::LayerNormOptions{.bias = false})(x);
  });
  check_operator<double>("layer norm without parameters", []<class T>(const Tensor<T>& x) {
    return nn::LayerNorm<T>(5, {.elementwise_affine = false})(x);
  });
}

TEST_CASE("Embedding is torch.nn.Embedding") {
  check_operator<double>("embedding", embedding_layer({}), {}, __FILE__);
  check_operator<double>("embedding with padding", embedding_layer({.padding_idx = -5}), {}, __FILE__);
}

TEST_CASE("layers without weights are torch.nn's") {
  check_operator<double>("max pool", []<class T>(const Tensor<T>& x) {
    return nn::MaxPool2d{3, {.stride = 2, .padding = 1}}(x);
  });
  check_operator<double>("average pool", []<class T>(const Tensor<T>& x) {
    return nn::AvgPool2d{{2, 3}, {.stride = 1}}(x);
  });
  check_operator<double>("global average pool", []<class T>(const Tensor<T>& x) { return nn::GlobalAvgPool2d{}(x); });
  check_operator<double>("global max pool", []<class T>(const Tensor<T>& x) { return nn::GlobalMaxPool2d{}(x); });
  check_operator<double>("flatten", []<class T>(const Tensor<T>& x) { return nn::Flatten{}(x); });
  check_operator<double>("nn relu", []<class T>(const Tensor<T>& x) { return nn::Relu{}(x); });
  check_operator<double>("nn gelu", []<class T>(const Tensor<T>& x) { return nn::Gelu{}(x); });
  check_operator<double>("nn silu", []<class T>(const Tensor<T>& x) { return nn::Silu{}(x); });
  check_operator<double>("nn tanh", []<class T>(const Tensor<T>& x) { return nn::Tanh{}(x); });
  check_operator<double>("nn sigmoid", []<class T>(const Tensor<T>& x) { return nn::Sigmoid{}(x); });
}
