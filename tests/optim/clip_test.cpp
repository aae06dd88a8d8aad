#include "gradus/optim/clip.hpp"

#include "gradus/nn/linear.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

struct Mixed {
  Parameter<float> first{zeros<float>({2})}, unused{zeros<float>({3})};
  Parameter<double> second{zeros<double>({2, 1})};
  Parameter<bf16> third{zeros<bf16>({1})};
  GRADUS_FIELDS(first, unused, second, third)
};

/// Gradients (1, 2), (4, 2) and (0) with the common norm 5.
Mixed with_gradients() {
  Mixed model;
  Tensor<float>(model.first.tensor()).set_grad(tensor<float>({1, 2}));
  Tensor<double>(model.second.tensor()).set_grad(tensor<double>({{4}, {2}}));
  Tensor<bf16>(model.third.tensor()).set_grad(zeros<bf16>({1}));
  return model;
}

}  // namespace

TEST_CASE("clip_grad_norm: all gradients by one factor, and the norm before it") {
  auto model = with_gradients();
  CHECK(optim::clip_grad_norm(model, 10) == 5);
  CHECK(model.first.grad().to_vector() == std::vector<float>{1, 2});
  CHECK(optim::clip_grad_norm(model, 2.5) == 5);
  auto factor = 2.5 / (5 + 1e-6);  // as PyTorch
  CHECK(model.first.grad()(1) == Approx(2 * factor).epsilon(1e-7));
  CHECK(model.second.grad()(0, 0) == 4 * factor);
  CHECK(!model.unused.grad().defined());
}

TEST_CASE("clip_grad_norm: the same bits at any number of threads, also from gradients that are not dense") {
  auto before = num_threads();
  auto run = [](int threads) {
    set_num_threads(threads);
    manual_seed(2);
    nn::Linear<float> model(300, 301);
    Tensor<float>(model.weight.tensor()).set_grad(transpose(randn<float>({300, 301})));
    auto norm = optim::clip_grad_norm(model, 1);
    return std::pair(norm, model.weight.grad().to_vector());
  };
  auto alone = run(1);
  CHECK(alone.first == Approx(std::sqrt(300.0 * 301)).epsilon(0.02));
  CHECK(run(2) == alone);
  CHECK(run(3) == alone);
  set_num_threads(before);
}

TEST_CASE("clip_grad_norm: a norm that is not finite changes nothing") {
  auto model = with_gradients();
  Tensor<float>(model.first.tensor()).set_grad(tensor<float>({1, INFINITY}));
  CHECK(std::isinf(optim::clip_grad_norm(model, 1)));
  CHECK(model.second.grad()(0, 0) == 4);
  Tensor<float>(model.first.tensor()).set_grad(tensor<float>({1, NAN}));
  CHECK(std::isnan(optim::clip_grad_norm(model, 1)));
  CHECK(model.first.grad()(0) == 1);
}

TEST_CASE("clip_grad_value: every element into the range") {
  auto model = with_gradients();
  Tensor<float>(model.first.tensor()).set_grad(tensor<float>({-7, 0.25f}));
  Tensor<bf16>(model.third.tensor()).set_grad(full<bf16>({1}, bf16(NAN)));
  optim::clip_grad_value(model, 2.5);
  CHECK(model.first.grad().to_vector() == std::vector<float>{-2.5, 0.25});
  CHECK(model.second.grad().to_vector() == std::vector<double>{2.5, 2});
  CHECK(std::isnan(static_cast<float>(model.third.grad().item())));
}

TEST_CASE("clip: limits out of range, gradients that are part of a graph") {
  auto model = with_gradients();
  check_error<ValueError>([&] { optim::clip_grad_norm(model, 0); },
                          "clip_grad_norm: max_norm is 0, but must be above 0");
  check_error<ValueError>([&] { optim::clip_grad_value(model, -1); },
                          "clip_grad_value: limit is -1, but must be above 0");
  auto x = ones<float>({2}).set_requires_grad();
  Tensor<float>(model.first.tensor()).set_grad(x * 2.0f);
  check_error<AutogradError>([&] { optim::clip_grad_norm(model, 1); },
                             "clip_grad_norm: the gradient of first is part of a graph; clip before asking for its "
                             "derivatives, or detach it");
}
