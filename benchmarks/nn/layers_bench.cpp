// Layers as a training step uses them: forward, and gradients of input and weights.
#include "benchmarks/measure.hpp"
#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/gru.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/lstm.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/nn/stateless.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes;

namespace {

/// name: forward and backward of layer(x); work is that of both.
template <class MakeLayer>
void layer(const char* name, bench::Work work, Shape x, MakeLayer make) {
  bench::time(join("nn/", name, '/', sizes(x)), work, [=] {
    manual_seed(1);
    auto in = rand<float>(x, -1, 1);
    in.set_requires_grad();
    auto model = std::make_shared<decltype(make())>(make());
    auto dy = rand<float>((*model)(in).shape());
    return [=]() mutable {
      (*model)(in).backward(dy);
      zero_grad(*model);
      in.set_grad({});
    };
  });
}

/// The states of a recurrent layer.
template <class Layer>
struct States {
  Layer layer;
  GRADUS_FIELDS(layer)
  Tensor<float> operator()(const Tensor<float>& x) const { return layer(x).y; }
};

const bench::AtStart layers_registered([] {
  auto products = [](double multiplications) { return bench::Work{.flop = 3 * 2 * multiplications}; };
  layer("Linear", products(128.0 * 512 * 512), {128, 512}, [] { return nn::Linear<float>(512, 512); });
  layer("Conv2d", products(32.0 * 28 * 28 * 32 * 32 * 9), {32, 32, 28, 28},
        [] { return nn::Conv2d<float>(32, 32, {.kernel = 3, .padding = 1}); });
  Shape images{32, 64, 28, 28};
  layer("BatchNorm2d", {.read = 6 * bytes_of(images), .written = 2 * bytes_of(images)}, images,
        [] { return nn::BatchNorm2d<float>(64); });
  layer("Dropout", {.read = 2 * bytes_of(images), .written = 2 * bytes_of(images)}, images,
        [] { return nn::Dropout(0.5); });
  layer("MaxPool2d", {.read = 1.25 * bytes_of(images), .written = 1.25 * bytes_of(images)}, images,
        [] { return nn::MaxPool2d{2}; });
  layer("Gelu", {.read = 3 * bytes_of(images), .written = 2 * bytes_of(images)}, images, [] { return nn::Gelu{}; });
  // 90 steps of 64 sequences; an LSTM multiplies with four matrices of each kind, a GRU with three.
  auto recurrent = [&](double gates) { return products(90 * 64 * gates * 128 * (16 + 128)); };
  layer("LSTM", recurrent(4), {90, 64, 16}, [] { return States<nn::LSTM<float>>{nn::LSTM<float>(16, 128)}; });
  layer("GRU", recurrent(3), {90, 64, 16}, [] { return States<nn::GRU<float>>{nn::GRU<float>(16, 128)}; });
  // What type erasure costs: the same network of four small layers, called through Sequential.
  layer("Sequential", {}, {1, 4},
        [] { return nn::Sequential<float>(nn::Linear<float>(4, 8), nn::Relu{}, nn::Linear<float>(8, 1), nn::Tanh{}); });
});

}  // namespace
