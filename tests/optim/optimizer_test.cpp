// What all optimizers have in common.
#include "gradus/nn/linear.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/optim/trajectory.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error, test::Vector;

namespace {

struct Net {
  nn::Linear<float> hidden{3, 4}, output{4, 2, {.bias = false}};
  Buffer<float> scale{ones<float>({2})};
  GRADUS_FIELDS(hidden, output, scale)

  Tensor<float> operator()(const Tensor<float>& x) const { return output(relu(hidden(x))) * scale.tensor(); }
};

struct Odd {
  Parameter<float> matrix{zeros<float>({2, 3})}, none{zeros<float>({0, 3})}, scalar{tensor<float>(1.0f)};
  GRADUS_FIELDS(matrix, none, scalar)
};

struct Many {
  std::vector<Parameter<float>> parts;
  GRADUS_FIELDS(parts)
};

struct Untrained {
  Buffer<float> table{ones<float>({2})};
  GRADUS_FIELDS(table)
};

template <Floating T>
std::vector<T> values(const Parameter<T>& parameter) {
  return parameter.tensor().to_vector();
}

const char* const gone =
    "SGD: the model whose parameters it trains is gone: make the optimizer after the model, and assign to the model "
    "instead of replacing it";

}  // namespace

TEST_CASE("an optimizer changes every parameter, no buffer, and clears gradients when told") {
  manual_seed(1);
  Net model;
  auto before = model;
  optim::SGD sgd(model, {.lr = 0.5});
  sum(model(randn<float>({5, 3}))).backward();
  auto gradient = model.hidden.bias.grad();
  sgd.step();
  CHECK(values(model.hidden.weight) != values(before.hidden.weight));
  CHECK(values(model.output.weight) != values(before.output.weight));
  CHECK(model.hidden.bias.tensor()(1) == Approx(before.hidden.bias.tensor()(1) - 0.5f * gradient(1)));
  CHECK(model.scale.tensor().to_vector() == std::vector<float>{1, 1});
  CHECK(model.hidden.bias.tensor().requires_grad());
  CHECK(model.hidden.bias.grad().defined());
  sgd.zero_grad();
  CHECK_FALSE(model.hidden.bias.grad().defined());
  CHECK_FALSE(model.output.weight.grad().defined());
}

TEST_CASE("parameters without a gradient stay as they are") {
  Net model;
  auto before = model;
  optim::AdamW adam(model, {.lr = 0.1, .weight_decay = 0.5});
  adam.step();
  CHECK(values(model.hidden.weight) == values(before.hidden.weight));
  Tensor<float>(model.output.weight.tensor()).set_grad(ones<float>({2, 4}));
  adam.step();
  CHECK(values(model.hidden.weight) == values(before.hidden.weight));
  CHECK(values(model.output.weight) != values(before.output.weight));
}

TEST_CASE("the learning rate can be changed between steps") {
  Vector<double> model(tensor<double>({1, 2}));
  optim::SGD<double> sgd(model, {.lr = 0.5});
  Tensor<double>(model.weight.tensor()).set_grad(tensor<double>({1, -4}));
  sgd.step();
  CHECK(values(model.weight) == std::vector<double>{0.5, 4});
  CHECK(sgd.lr() == 0.5);
  sgd.set_lr(0.25);
  sgd.step();
  CHECK(values(model.weight) == std::vector<double>{0.25, 5});
  CHECK(sgd.lr() == 0.25);
}

TEST_CASE("gradients need not be dense, parameters may be empty or scalars") {
  Odd model;
  optim::SGD sgd(model, {.lr = 1});
  Tensor<float>(model.matrix.tensor()).set_grad(transpose(tensor<float>({{1, 2}, {3, 4}, {5, 6}})));
  Tensor<float>(model.none.tensor()).set_grad(zeros<float>({0, 3}));
  Tensor<float>(model.scalar.tensor()).set_grad(tensor<float>(3.0f));
  sgd.step();
  CHECK(values(model.matrix) == std::vector<float>{-1, -3, -5, -2, -4, -6});
  CHECK(values(model.scalar) == std::vector<float>{-2});
}

TEST_CASE("many parameters are swept as one, with the same bits at any number of threads") {
  auto run = [](int threads) {
    set_num_threads(threads);
    manual_seed(3);
    Many model;
    for (int64_t n : {1, 16, 40000, 7, 0, 33333, 100}) model.parts.emplace_back(randn<float>({n}));
    optim::AdamW adam(model, {.lr = 0.01});
    for (int step = 0; step < 3; ++step) {
      for (auto& part : model.parts) Tensor<float>(part.tensor()).set_grad(randn<float>(part.shape()));
      adam.step();
    }
    std::vector<float> all;
    for (auto& part : model.parts) {
      auto one = values(part);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  };
  auto before = num_threads();
  auto alone = run(1);
  CHECK(run(2) == alone);
  CHECK(run(3) == alone);
  set_num_threads(before);
}

TEST_CASE("bf16 parameters: steps too small for bf16 are collected in float") {
  Vector<bf16> model(ones<bf16>({20}));
  optim::SGD<bf16> sgd(model, {.lr = 1});
  auto small = static_cast<bf16>(0x1p-12f);  // bf16 next to 1 are 2^-7 and 2^-8 apart
  for (int step = 0; step < 64; ++step) {
    Tensor<bf16>(model.weight.tensor()).set_grad(full<bf16>({20}, small));
    sgd.step();
  }
  CHECK(static_cast<float>(model.weight.tensor()(19)) == 1 - 64 * 0x1p-12f);
}

TEST_CASE("bf16 parameters: what somebody assigns replaces the collected value") {
  Vector<bf16> model(ones<bf16>({20})), other(full<bf16>({20}, bf16(4)));
  optim::SGD<bf16> sgd(model, {.lr = 1});
  auto step = [&](float gradient) {
    Tensor<bf16>(model.weight.tensor()).set_grad(full<bf16>({20}, bf16(gradient)));
    sgd.step();
    return static_cast<float>(model.weight.tensor()(3));
  };
  CHECK(step(0x1p-12f) == 1);
  model = other;
  CHECK(step(0.5f) == 3.5f);
  no_grad([&] { Tensor<bf16>(model.weight.tensor()).fill_(bf16(-2)); });
  CHECK(step(0.5f) == -2.5f);
}

TEST_CASE("assigning to a model keeps its optimizer attached") {
  Vector<float> model(ones<float>({2}));
  auto best = model;
  optim::SGD sgd(model, {.lr = 1});
  auto step = [&] {
    Tensor<float>(model.weight.tensor()).set_grad(ones<float>({2}));
    sgd.step();
    return values(model.weight);
  };
  CHECK(step() == std::vector<float>{0, 0});
  CHECK(step() == std::vector<float>{-1, -1});
  model = best;
  CHECK(values(model.weight) == std::vector<float>{1, 1});
  CHECK(step() == std::vector<float>{0, 0});
  CHECK(values(best.weight) == std::vector<float>{1, 1});
}

TEST_CASE("moving a model takes its optimizer along") {
  auto first = std::make_unique<Vector<float>>(ones<float>({2}));
  optim::SGD sgd(*first, {.lr = 1});
  auto moved = std::move(*first);
  first.reset();
  Tensor<float>(moved.weight.tensor()).set_grad(ones<float>({2}));
  sgd.step();
  CHECK(values(moved.weight) == std::vector<float>{0, 0});
}

TEST_CASE("an optimizer whose model is gone says so") {
  auto model = std::make_unique<Vector<float>>(ones<float>({2}));
  optim::SGD sgd(*model);
  model.reset();
  check_error<ValueError>([&] { sgd.step(); }, gone);

  Vector<float> replaced(ones<float>({2}));
  optim::SGD stale(replaced);
  replaced = Vector<float>(zeros<float>({2}));  // moves the other's memory in
  check_error<ValueError>([&] { stale.step(); }, gone);
}

TEST_CASE("a model without parameters, or with others than the optimizer's type, is refused") {
  Untrained empty;
  check_error<ValueError>([&] { optim::SGD sgd(empty); }, "SGD: the model has no parameters to train");
  Vector<double> wide(ones<double>({2}));
  check_error<TypeError>([&] { optim::AdamW adam(wide); },
                         "AdamW: parameter weight is of double, but this optimizer trains float; name the type, as in "
                         "optim::AdamW<double>");
  Vector<bf16> narrow(ones<bf16>({2}));
  check_error<TypeError>([&] { optim::SGD sgd(narrow); },
                         "SGD: parameter weight is of bf16, but this optimizer trains float; name the type, as in "
                         "optim::SGD<bf16>");
}
