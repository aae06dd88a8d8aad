// Layers and models are values: copying copies, assigning writes, moving does not throw.
#include <type_traits>

#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/recurrent_language_model.hpp"
#include "gradus/models/resnet.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/models/seq2seq.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/embedding.hpp"
#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/recurrent_cells.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

template <class... Types>
constexpr bool are_values = ((std::is_copy_constructible_v<Types> && std::is_copy_assignable_v<Types> &&
                              std::is_nothrow_move_constructible_v<Types> &&
                              std::is_nothrow_move_assignable_v<Types>)&&...);

static_assert(
    are_values<Parameter<float>, Buffer<int64_t>, nn::Linear<float>, nn::Conv2d<bf16>, nn::BatchNorm2d<double>,
               nn::Dropout, nn::LayerNorm<float>, nn::Embedding<float>, nn::Sequential<float>>);
static_assert(are_values<nn::Relu, nn::Gelu, nn::Silu, nn::Tanh, nn::Sigmoid, nn::Flatten, nn::MaxPool2d, nn::AvgPool2d,
                         nn::GlobalAvgPool2d, nn::GlobalMaxPool2d>);
static_assert(are_values<nn::LSTM<float>, nn::GRU<float>, nn::RNN<double>, nn::LSTMCell<float>, nn::GRUCell<float>,
                         nn::RNNCell<float>, models::RecurrentLanguageModel<float>, models::Seq2Seq<float>>);
static_assert(are_values<models::Mlp<float>, models::LeNet<float>, models::ResNet9<double>, models::ResNet<float>>);

template <class Model>
std::vector<std::string> tensor_names(const Model& model) {
  std::vector<std::string> names;
  detail::for_each_model_tensor(model, [&](const std::string& path, const auto&) { names.push_back(path); });
  return names;
}

}  // namespace

TEST_CASE("names of parameters and buffers are PyTorch's") {
  CHECK(tensor_names(nn::Linear<float>(2, 3)) == std::vector<std::string>{"weight", "bias"});
  CHECK(tensor_names(nn::BatchNorm2d<float>(2)) ==
        std::vector<std::string>{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"});
  CHECK(tensor_names(nn::LayerNorm<float>(2)) == std::vector<std::string>{"weight", "bias"});
  CHECK(tensor_names(nn::Embedding<float>(2, 3)) == std::vector<std::string>{"weight"});
  CHECK(tensor_names(models::Mlp<float>({2, 3, 1})) ==
        std::vector<std::string>{"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"});
  CHECK(tensor_names(models::LeNet<float>()) == std::vector<std::string>{"conv1.weight", "conv1.bias", "conv2.weight",
                                                                         "conv2.bias", "hidden.weight", "hidden.bias",
                                                                         "output.weight", "output.bias"});
  CHECK(count_parameters(models::LeNet<float>()) == 32 * 9 + 32 + 64 * 32 * 9 + 64 + 3136 * 128 + 128 + 1280 + 10);
  models::ResNet9<float> deep(3, 10, 4);
  auto names = tensor_names(deep);
  CHECK(names.size() == 8 * 6 + 2);
  CHECK(names[1 * 6] == "layer1.conv.weight");
  CHECK(names[2 * 6 + 1] == "residual1.first.norm.weight");
  CHECK(parameters(deep).size() == 8 * 3 + 2);
}

TEST_CASE("a copy of a model is a snapshot, and assigning it back restores the numbers in place") {
  manual_seed(4);
  models::ResNet9<float> model(1, 3, 2);
  auto x = randn<float>({4, 1, 16, 16});
  model(x);  // statistics that are not the initial ones
  eval(model);
  auto best = model;
  auto y = best(x).to_vector();
  auto held = model.residual3.first.conv.weight.tensor();
  train(model);
  for (int step = 0; step < 2; ++step) model(x);
  no_grad([&] {
    for (auto& parameter : parameters(model)) parameter.fill_(0.5f);
  });
  CHECK(best(x).to_vector() == y);
  model = best;
  CHECK_FALSE(model.prepare.norm.training.on);
  CHECK(model(x).to_vector() == y);
  CHECK(model.residual3.first.conv.weight.tensor().data() == held.data());
  CHECK(held.requires_grad());
}

TEST_CASE("a copy trains apart from its original, and gradients are not copied") {
  nn::Linear<float> layer(3, 2);
  Tensor<float>(layer.weight.tensor()).set_grad(ones<float>({2, 3}));
  auto copy = layer;
  CHECK_FALSE(copy.weight.grad().defined());
  CHECK(layer.weight.grad().defined());
  CHECK(copy.weight.tensor().requires_grad());
  CHECK(copy.weight.tensor().data() != layer.weight.tensor().data());
}

TEST_CASE("assigning a model of other sizes is refused") {
  models::LeNet<float> model, other(7);
  train(model);
  test::check_error<ShapeError>(
      [&] { model = other; },
      "LeNet.output.weight: assigning a tensor of shape (7, 128) to a model's of shape (10, 128)");
}

TEST_CASE("a moved model keeps its memory") {
  nn::Linear<float> layer(3, 2);
  auto held = layer.weight.tensor();
  auto moved = std::move(layer);
  CHECK(moved.weight.tensor().data() == held.data());
  CHECK(count_parameters(moved) == 8);
}
