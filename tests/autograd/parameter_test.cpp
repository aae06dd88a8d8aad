// Parameters are values: copies are snapshots, assignment writes into the memory that an optimizer holds.
#include "gradus/autograd/parameter.hpp"

#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

using Numbers = std::vector<float>;

struct TwoParameters {
  Parameter<float> weight{tensor<float>({1, 2})};
  Parameter<float> bias{tensor<float>({3})};
  Buffer<float> mean{zeros<float>({2})};
  Training training{};
  GRADUS_FIELDS(weight, bias, mean, training)
};
struct Model {
  TwoParameters first;
  std::vector<TwoParameters> blocks{2};
  std::optional<TwoParameters> head;
  Parameter<double> scale{tensor<double>(1)};
  GRADUS_FIELDS(first, blocks, head, scale)
};

}  // namespace

TEST_CASE("parameter: trained, and a tensor wherever one is asked for") {
  Parameter<float> weight(tensor<float>({1, 2}));
  CHECK(weight.defined());
  CHECK(weight.shape() == Shape{2});
  CHECK(weight.tensor().requires_grad());
  const Tensor<float>& tensor = weight;
  CHECK(tensor.data() == weight.tensor().data());
  (weight.tensor() * 2.0f).backward(ones<float>({2}));
  CHECK(weight.grad().to_vector() == Numbers{2, 2});
  CHECK(!Buffer<float>(zeros<float>({1})).tensor().requires_grad());
  CHECK(!Buffer<int64_t>(zeros<int64_t>({1})).tensor().requires_grad());
  CHECK(!Parameter<float>().defined());
}

TEST_CASE("parameter: a copy is a snapshot") {
  Parameter<float> weight(tensor<float>({1, 2}));
  auto copy = weight;
  CHECK(copy.tensor().data() != weight.tensor().data());
  CHECK(copy.tensor().requires_grad());
  no_grad([&] { Tensor<float>(weight.tensor()).fill_(9); });
  CHECK(copy.tensor().to_vector() == Numbers{1, 2});
  CHECK(!copy.grad().defined());
}

TEST_CASE("parameter: assigning writes into the existing memory") {
  Parameter<float> weight(tensor<float>({1, 2})), other(tensor<float>({5, 6}));
  auto held = weight.tensor();  // as an optimizer holds it
  weight = other;
  CHECK(held.to_vector() == Numbers{5, 6});
  CHECK(weight.tensor().data() == held.data());
  CHECK(weight.tensor().data() != other.tensor().data());
  const auto& self = weight;
  weight = self;
  CHECK(held.to_vector() == Numbers{5, 6});
  check_error<ShapeError>([&] { weight = Parameter<float>(Parameter<float>(zeros<float>({3}))), weight = other; },
                          "assigning a tensor of shape (2,) to a model's of shape (3,)");
  Parameter<float> named(tensor<float>({1, 2})), longer(zeros<float>({3}));
  named.set_path("LeNet.output.weight");
  check_error<ShapeError>([&] { named = longer; },
                          "LeNet.output.weight: assigning a tensor of shape (3,) to a model's of shape (2,)");
  CHECK(named.path() == "LeNet.output.weight");
}

TEST_CASE("parameter: moves hand memory over and cannot fail") {
  CHECK(std::is_nothrow_move_constructible_v<Parameter<float>>);
  CHECK(std::is_nothrow_move_assignable_v<Parameter<float>>);
  CHECK(std::is_nothrow_move_constructible_v<Buffer<int64_t>>);
  CHECK(std::is_nothrow_move_constructible_v<Model>);
  CHECK(std::is_nothrow_move_assignable_v<Model>);
  Parameter<float> weight(tensor<float>({1, 2}));
  auto* data = weight.tensor().data();
  auto moved = std::move(weight);
  CHECK(moved.tensor().data() == data);
}

TEST_CASE("model: copying is a snapshot, assigning keeps the optimizer attached") {
  Model model;
  auto held = parameters(model);
  auto best = model;
  no_grad([&] {
    for (auto& parameter : held) parameter.fill_(0);
  });
  CHECK(model.first.weight.tensor().to_vector() == Numbers{0, 0});
  CHECK(best.first.weight.tensor().to_vector() == Numbers{1, 2});
  model = best;
  CHECK(held[0].to_vector() == Numbers{1, 2});
  CHECK(model.first.weight.tensor().data() == held[0].data());
  CHECK(model.blocks[1].weight.tensor().data() == parameters(model)[4].data());
}

TEST_CASE("model: parameters come in the order of the fields, by element type") {
  Model model;
  auto names = [&] {
    std::string text;
    for (const auto& named : named_parameters(model)) text += named.name + ' ';
    return text;
  };
  CHECK(names() == "first.weight first.bias blocks.0.weight blocks.0.bias blocks.1.weight blocks.1.bias ");
  model.head.emplace();
  model.first.bias = Parameter<float>();  // as a layer made without bias
  CHECK(names() == "first.weight blocks.0.weight blocks.0.bias blocks.1.weight blocks.1.bias head.weight head.bias ");
  CHECK(named_parameters<double>(model)[0].name == "scale");
  CHECK(parameters<double>(model).size() == 1);
  CHECK(count_parameters(model) == 2 + 3 + 3 + 3 + 1);
}

TEST_CASE("model: train, eval, zero_grad, to") {
  Model model;
  eval(model);
  CHECK(!model.first.training);
  CHECK(!model.blocks[1].training);
  CHECK(model.first.weight.path() == "Model.first.weight");
  CHECK(model.blocks[1].mean.path() == "Model.blocks.1.mean");
  train(model);
  CHECK(model.blocks[0].training);
  (model.first.weight.tensor() * 1.0f).backward(ones<float>({2}));
  CHECK(model.first.weight.grad().defined());
  zero_grad(model);
  CHECK(!model.first.weight.grad().defined());
  auto* data = model.first.weight.tensor().data();
  to(model, Device::cpu());
  CHECK(model.first.weight.tensor().data() == data);
}
