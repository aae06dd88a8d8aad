// How layers start, what they refuse, and that an error says where in its model it happened.
#include <cmath>
#include <optional>

#include "gradus/models/lenet.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/nn/embedding.hpp"
#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

struct Net {
  std::vector<nn::Linear<float>> list;
  nn::Sequential<float> body{nn::Relu{}, nn::Sequential<float>(nn::Linear<float>(4, 2))};
  GRADUS_FIELDS(list, body)
};

/// Uniform in [-bound, bound): within it, close to both ends, and with the mean and variance of such numbers.
template <Floating T>
void check_uniform(const Tensor<T>& x, double bound) {
  double low = 0, high = 0, sum = 0, squares = 0;
  for (auto value : x.to_vector()) {
    auto v = static_cast<double>(value);
    low = std::min(low, v);
    high = std::max(high, v);
    sum += v;
    squares += v * v;
  }
  auto n = static_cast<double>(x.numel());
  CHECK(low >= -bound);
  CHECK(high < bound);
  CHECK(low < -0.98 * bound);
  CHECK(high > 0.98 * bound);
  CHECK(std::abs(sum / n) < 4 * bound / std::sqrt(3 * n));
  CHECK(squares / n == Approx(bound * bound / 3).epsilon(6 / std::sqrt(n)));
}

}  // namespace

TEST_CASE("layers made under NoDraws start with zeros, and what is drawn later is the same") {
  auto later = [](bool skip) {
    manual_seed(8);
    {
      std::optional<nn::init::NoDraws> guard;
      if (skip) guard.emplace();
      nn::Linear<float> dense(7, 5);
      nn::Embedding<float> table(6, 3);
      dense.weight = Parameter<float>(nn::init::he_normal<float>({5, 7}, 7));
      for (const auto& tensor : {dense.weight.tensor(), dense.bias.tensor(), table.weight.tensor()}) {
        auto values = tensor.to_vector();
        CHECK((std::count(values.begin(), values.end(), 0.0f) == std::ssize(values)) == skip);
      }
    }
    return nn::Linear<float>(3, 2).weight.tensor().to_vector();
  };
  CHECK(later(true) == later(false));
}

TEST_CASE("dense and convolution layers start uniformly within 1 / sqrt(inputs of one output)") {
  manual_seed(5);
  nn::Linear<float> dense(50, 400);
  check_uniform(dense.weight.tensor(), 1 / std::sqrt(50.0));
  check_uniform(dense.bias.tensor(), 1 / std::sqrt(50.0));
  CHECK(dense.weight.shape() == Shape{400, 50});
  CHECK(dense.bias.shape() == Shape{400});
  nn::Conv2d<double> conv(8, 600, {.kernel = {3, 2}, .groups = 2});
  check_uniform(conv.weight.tensor(), 1 / std::sqrt(4.0 * 3 * 2));
  check_uniform(conv.bias.tensor(), 1 / std::sqrt(4.0 * 3 * 2));
  CHECK(conv.weight.shape() == Shape{600, 4, 3, 2});
  CHECK(conv.bias.shape() == Shape{600});
  nn::Linear<bf16> narrow(64, 100);
  check_uniform(narrow.weight.tensor(), 0.125);
}

TEST_CASE("he_normal has variance 2 / inputs") {
  manual_seed(5);
  auto values = nn::init::he_normal<float>({100, 200}, 50).to_vector();
  double sum = 0, squares = 0;
  for (double v : values) {
    sum += v;
    squares += v * v;
  }
  CHECK(std::abs(sum / 20000) < 4 * 0.2 / std::sqrt(20000.0));
  CHECK(squares / 20000 == Approx(2.0 / 50).epsilon(0.05));
}

TEST_CASE("Embedding starts normal with variance 1, and its row of padding at 0") {
  manual_seed(5);
  nn::Embedding<float> table(100, 200, {.padding_idx = -3});
  CHECK(table.weight.shape() == Shape{100, 200});
  auto values = table.weight.tensor().to_vector();
  double sum = 0, squares = 0;
  for (double v : values) {
    sum += v;
    squares += v * v;
  }
  CHECK(std::abs(sum / 19800) < 4 / std::sqrt(19800.0));
  CHECK(squares / 19800 == Approx(1).epsilon(0.05));
  CHECK(std::count(values.begin(), values.end(), 0.0f) == 200);
  CHECK(std::vector<float>(values.begin() + 97 * 200, values.begin() + 98 * 200) == std::vector<float>(200));
}

TEST_CASE("LayerNorm starts as PyTorch's") {
  nn::LayerNorm<float> norm({2, 3});
  CHECK(norm.normalized_shape == Shape{2, 3});
  CHECK(norm.weight.shape() == Shape{2, 3});
  CHECK(norm.weight.tensor().to_vector() == std::vector<float>(6, 1.0f));
  CHECK(norm.bias.tensor().to_vector() == std::vector<float>(6, 0.0f));
  CHECK(norm.options.eps == 1e-5);
  CHECK(parameters(nn::LayerNorm<float>(4, {.bias = false})).size() == 1);
  CHECK(parameters(nn::LayerNorm<float>(4, {.elementwise_affine = false})).empty());
}

TEST_CASE("the same seed makes the same model") {
  auto weights = [](uint64_t seed) {
    manual_seed(seed);
    models::LeNet<float> model;
    std::vector<float> all;
    for (const auto& parameter : parameters(model)) {
      auto values = parameter.to_vector();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  auto first = weights(7);
  CHECK(weights(7) == first);
  CHECK(weights(8) != first);
}

TEST_CASE("layers without a bias have no parameter for it") {
  nn::Linear<float> dense(3, 2, {.bias = false});
  nn::Conv2d<float> conv(3, 2, {.kernel = 3, .bias = false});
  CHECK_FALSE(dense.bias.defined());
  CHECK_FALSE(conv.bias.defined());
  CHECK(parameters(dense).size() == 1);
  CHECK(named_parameters(conv)[0].name == "weight");
}

TEST_CASE("layers refuse sizes that mean nothing") {
  check_error<ValueError>([] { nn::Linear<float>(-1, 3); }, "Linear: -1 inputs and 3 outputs");
  check_error<ValueError>([] { nn::Embedding<float>(5, -1); }, "Embedding: 5 vectors of -1 numbers");
  check_error<IndexError>([] { nn::Embedding<float>(5, 2, {.padding_idx = 5}); },
                          "Embedding: padding_idx is 5, but weight has 5 rows: it must be in [-5, 5)");
  check_error<ValueError>([] { nn::Conv2d<float>(3, 4, {.groups = 2}); },
                          "Conv2d: 3 input and 4 output channels do not divide into 2 groups");
  check_error<ValueError>([] { nn::Conv2d<float>(4, 3, {.groups = 2}); },
                          "Conv2d: 4 input and 3 output channels do not divide into 2 groups");
  check_error<ValueError>([] { nn::Conv2d<float>(4, 4, {.groups = 0}); },
                          "Conv2d: 4 input and 4 output channels do not divide into 0 groups");
}

TEST_CASE("an error in a layer starts with the layer's path in its model") {
  models::LeNet<float> model;
  optim::SGD sgd(model);  // walks the model, and so do train, eval and to
  check_error<ShapeError>(
      [&] {
        model.output(zeros<float>({128, 3136}));
      },
      "LeNet.output: linear: input is (128, 3136) but weight is (10, 128): the input's last size must be 128");
  check_error<ShapeError>(
      [&] {
        model(zeros<float>({2, 3, 28, 28}));
      },
      "LeNet.conv1: conv2d: input is (2, 3, 28, 28) and weight is (32, 1, 3, 3) with 1 group(s): the input's channels "
      "must be 1, and the weight's first size a multiple of 1");
  auto copy = model;
  check_error<ShapeError>(
      [&] {
        copy.output(zeros<float>({1, 3}));
      },
      "LeNet.output: linear: input is (1, 3) but weight is (10, 128): the input's last size must be 128");
}

TEST_CASE("errors of LayerNorm and Embedding begin with their path") {
  nn::LayerNorm<float> norm(3);
  nn::Embedding<float> table(5, 2);
  train(norm);
  train(table);
  check_error<ShapeError>(
      [&] {
        norm(zeros<float>({2, 4}));
      },
      "LayerNorm: layer_norm: input is (2, 4) and the normalized shape (3,): it must be the sizes of the input's last "
      "axes, one or more");
  check_error<IndexError>(
      [&] { table(tensor<int64_t>({5})); },
      "Embedding: embedding: id 5 at place 0 of 1 is out of range: weight is (5, 2), so ids must be in [0, 5)");
}

TEST_CASE("paths go through models within models, lists and Sequential") {
  models::ResNet9<float> deep(3, 10, 2);
  eval(deep);
  check_error<ShapeError>(
      [&] {
        deep.residual1.second.norm(zeros<float>({1, 2, 1, 1}));
      },
      "ResNet9.residual1.second.norm: batch_norm: input is (1, 2, 1, 1) but a parameter is (4,): it must be (2,)");

  Net net;
  net.list.emplace_back(3, 4);
  train(net);
  check_error<ShapeError>(
      [&] {
        net.list[0](zeros<float>({1, 5}));
      },
      "Net.list.0: linear: input is (1, 5) but weight is (4, 3): the input's last size must be 3");
  check_error<ShapeError>(
      [&] {
        net.body(zeros<float>({1, 5}));
      },
      "Net.body.1.0: linear: input is (1, 5) but weight is (2, 4): the input's last size must be 4");
}

TEST_CASE("a layer on its own has no path to tell") {
  nn::Linear<float> layer(3, 2);
  check_error<ShapeError>(
      [&] {
        layer(zeros<float>({1, 5}));
      },
      "linear: input is (1, 5) but weight is (2, 3): the input's last size must be 3");
}
