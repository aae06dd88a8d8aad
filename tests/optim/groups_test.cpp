// Parameter groups: options of their own for some parameters.
#include "gradus/nn/linear.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

struct Towers {
  nn::Linear<float> left{3, 4}, right{3, 4};
  GRADUS_FIELDS(left, right)
};

bool is_right(const std::string& path, const Shape&) { return path.starts_with("right."); }

/// Three steps with gradients that depend on the step and the parameter's shape alone.
template <class Optimizer>
void take_steps(Towers& model, Optimizer& optimizer) {
  for (int step = 1; step <= 3; ++step) {
    for (auto& parameter : parameters(model)) {
      auto gradient = linspace<float>(-1, static_cast<float>(step), parameter.numel());
      parameter.set_grad(reshape(gradient, parameter.shape()));
    }
    optimizer.step();
  }
}

std::vector<float> numbers(const Parameter<float>& parameter) { return parameter.tensor().to_vector(); }

}  // namespace

TEST_CASE("groups: each parameter is trained as by an optimizer with its group's options alone") {
  manual_seed(4);
  Towers model;
  auto with_first = model, with_second = model;
  optim::AdamWOptions first{.lr = 0.01, .weight_decay = 0.1};
  optim::AdamWOptions second{.lr = 0.05, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-4, .weight_decay = 0};
  optim::AdamW grouped(model, first, {{.select = is_right, .options = second}});
  optim::AdamW one(with_first, first), other(with_second, second);
  take_steps(model, grouped);
  take_steps(with_first, one);
  take_steps(with_second, other);
  CHECK(numbers(model.left.weight) == numbers(with_first.left.weight));
  CHECK(numbers(model.left.bias) == numbers(with_first.left.bias));
  CHECK(numbers(model.right.weight) == numbers(with_second.right.weight));
  CHECK(numbers(model.right.bias) == numbers(with_second.right.bias));
  CHECK(numbers(with_first.right.weight) != numbers(with_second.right.weight));
}

TEST_CASE("groups: the first that picks a parameter has it, and biases go without weight decay") {
  manual_seed(4);
  Towers model;
  auto plain = model;
  optim::SGD sgd(model, {.lr = 0.5, .weight_decay = 0.5},
                 {{.select = optim::is_vector, .options = {.lr = 0.5}},
                  {.select = is_right, .options = {.lr = 0.25, .momentum = 0.5}}});
  optim::SGD undecayed(plain, {.lr = 0.5});
  take_steps(model, sgd);
  take_steps(plain, undecayed);
  CHECK(numbers(model.left.bias) == numbers(plain.left.bias));
  CHECK(numbers(model.right.bias) == numbers(plain.right.bias));
  CHECK(numbers(model.left.weight) != numbers(plain.left.weight));
  CHECK(numbers(model.right.weight) != numbers(plain.right.weight));
}

TEST_CASE("groups: rates keep their proportion when the rate changes") {
  Towers model;
  auto before = model;
  optim::SGD sgd(model, {.lr = 1}, {{.select = is_right, .options = {.lr = 0.25}}});
  sgd.set_lr(0.5);
  CHECK(sgd.lr() == 0.5);
  for (auto& parameter : parameters(model)) parameter.set_grad(ones<float>(parameter.shape()));
  sgd.step();
  CHECK(model.left.bias.tensor()(0) == Approx(before.left.bias.tensor()(0) - 0.5f));
  CHECK(model.right.bias.tensor()(0) == Approx(before.right.bias.tensor()(0) - 0.125f));
}

TEST_CASE("groups: what cannot be is refused") {
  Towers model;
  auto none = [](const std::string&, const Shape&) { return false; };
  check_error<ValueError>([&] { optim::SGD(model, {.lr = 1}, {{.select = none, .options = {}}}); },
                          "SGD: group 0 picks no parameter, or only what groups before it pick");
  check_error<ValueError>([&] { optim::SGD(model, {.lr = 1}, {{.select = is_right, .options = {.lr = -1}}}); },
                          "SGD: the learning rate is -1, but must not be negative");
  check_error<ValueError>([&] { optim::SGD(model, {.lr = 0}, {{.select = is_right, .options = {.lr = 1}}}); },
                          "SGD: the learning rate is 0, but with groups must be above: theirs change in proportion");
  check_error<ValueError>([&] { optim::AdamW(model, {.lr = 1}, {{.select = is_right, .options = {.beta1 = 1}}}); },
                          "AdamW: beta1 is 1 and beta2 0.999, but both must be in [0, 1)");
}
