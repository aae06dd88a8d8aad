#include "gradus/nn/sequential.hpp"

#include "gradus/io/model.hpp"
#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

nn::Sequential<float> images_to_classes() {
  return nn::Sequential<float>(nn::Conv2d<float>(1, 2, {.kernel = 3}), nn::BatchNorm2d<float>(2), nn::Relu{},
                               nn::MaxPool2d{2}, nn::Flatten{}, nn::Dropout(0.25), nn::Linear<float>(8, 3));
}

std::vector<std::string> names(const nn::Sequential<float>& model) {
  std::vector<std::string> result;
  for (const auto& named : named_parameters(model)) result.push_back(named.name);
  return result;
}

Tensor<float> parameter(const nn::Sequential<float>& model, const std::string& name) {
  for (const auto& named : named_parameters(model)) {
    if (named.name == name) return named.tensor;
  }
  return {};
}

/// Two layers, one without a name.
nn::Sequential<float> doubling(int64_t in, int64_t out) {
  return nn::Sequential<float>(nn::Linear<float>(in, out), [](const Tensor<float>& x) { return x + x; });
}

}  // namespace

TEST_CASE("Sequential applies its layers in order") {
  nn::Linear<float> first(3, 4), second(4, 2);
  nn::Sequential<float> model(first, nn::Tanh{}, second);
  auto x = randn<float>({5, 3});
  CHECK(model(x).to_vector() == second(tanh(first(x))).to_vector());
  CHECK(model.size() == 3);
  nn::Sequential<float> none;
  CHECK(none(x).data() == x.data());
  none.append(first).append(nn::Relu{});
  CHECK(none(x).to_vector() == relu(first(x)).to_vector());
}

TEST_CASE("Sequential takes lambdas, functions and models") {
  nn::Sequential<float> model([](const Tensor<float>& x) { return x * x; }, &relu<float>, doubling(3, 2));
  auto x = randn<float>({4, 3});
  auto inner = doubling(3, 2);
  CHECK(model(x).shape() == Shape{4, 2});
  CHECK(names(model) == std::vector<std::string>{"2.0.weight", "2.0.bias"});
}

TEST_CASE("Sequential is walked like fields") {
  auto model = images_to_classes();
  CHECK(names(model) == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias"});
  CHECK(count_parameters(model) == 2 * 9 + 2 + 4 + 8 * 3 + 3);
  auto x = randn<float>({4, 1, 6, 6});
  eval(model);
  auto y = model(x).to_vector();
  CHECK(model(x).to_vector() == y);  // no dropout, and statistics that stay
  train(model);
  model(x);
  eval(model);
  CHECK(model(x).to_vector() != y);  // the statistics have moved
}

TEST_CASE("a copy of a Sequential has numbers of its own") {
  auto model = doubling(3, 2);
  auto copy = model;
  auto before = parameter(copy, "0.weight").to_vector();
  CHECK(parameter(model, "0.weight").to_vector() == before);
  no_grad([&] { parameter(model, "0.weight").fill_(7); });
  CHECK(parameter(copy, "0.weight").to_vector() == before);
}

TEST_CASE("assigning a Sequential writes into the existing parameters") {
  auto model = images_to_classes(), other = images_to_classes();
  optim::SGD sgd(model, {.lr = 1});
  auto held = parameter(model, "6.weight");
  model = other;
  CHECK(held.to_vector() == parameter(other, "6.weight").to_vector());
  held.set_grad(ones<float>(held.shape()));
  sgd.step();
  CHECK(parameter(model, "6.weight")(1, 2) == Approx(parameter(other, "6.weight")(1, 2) - 1));

  auto& self = model;
  model = self;
  CHECK(parameter(model, "6.weight").data() == held.data());

  nn::Sequential<float> empty;
  empty = other;
  CHECK(parameter(empty, "6.weight").to_vector() == parameter(other, "6.weight").to_vector());
  CHECK(parameter(empty, "6.weight").data() != parameter(other, "6.weight").data());
}

TEST_CASE("assigning a Sequential of another make is refused") {
  auto model = doubling(3, 2);
  auto weight = parameter(model, "0.weight"), before = weight.clone();
  auto longer = images_to_classes(), wider = doubling(3, 5);
  check_error<ValueError>([&] { model = longer; }, "Sequential: 7 layers are assigned to 2, but there must be as many");
  nn::Sequential<float> other(nn::Tanh{}, nn::Relu{});
  check_error<ValueError>([&] { model = other; },
                          "Sequential: layer 0 is a Linear, but a Tanh is assigned to it: the types must be the same");
  check_error<ShapeError>([&] { model = wider; }, "assigning a tensor of shape (5, 3) to a model's of shape (2, 3)");
  CHECK(parameter(model, "0.weight").data() == weight.data());
  CHECK(weight.to_vector() == before.to_vector());
}

TEST_CASE("Sequential is saved and loaded by position") {
  test::TemporaryFolder folder;
  auto path = folder / "model.safetensors";
  auto saved = images_to_classes(), loaded = images_to_classes();
  train(saved);
  saved(randn<float>({4, 1, 6, 6}));
  io::save(path, saved);
  CHECK(io::SafeTensors::read(path).names() ==
        std::vector<std::string>{"0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean",
                                 "1.running_var", "1.weight", "6.bias", "6.weight"});
  io::load(path, loaded);
  eval(saved);
  eval(loaded);
  auto x = randn<float>({4, 1, 6, 6});
  CHECK(loaded(x).to_vector() == saved(x).to_vector());
}
