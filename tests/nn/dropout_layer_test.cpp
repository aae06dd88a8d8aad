#include "gradus/nn/dropout.hpp"

#include "gradus/ops/reduction/sum.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

TEST_CASE("Dropout drops while training and passes on after eval()") {
  nn::Dropout drop(0.25);
  auto x = ones<float>({200, 100});
  manual_seed(2);
  auto y = drop(x).to_vector();
  auto dropped = std::count(y.begin(), y.end(), 0.0f);
  CHECK(std::abs(static_cast<double>(dropped) - 5000) < 5 * std::sqrt(20000 * 0.25 * 0.75));
  CHECK(std::count(y.begin(), y.end(), 1 / 0.75f) == 20000 - dropped);
  CHECK(drop(x).to_vector() != y);
  manual_seed(2);
  CHECK(drop(x).to_vector() == y);
  eval(drop);
  CHECK(drop(x).data() == x.data());
  train(drop);
  CHECK(drop(x).data() != x.data());
  CHECK(nn::Dropout(0)(x).data() == x.data());
}

TEST_CASE("Dropout: the gradient passes where the value did") {
  nn::Dropout drop;
  auto x = ones<double>({40});
  x.set_requires_grad();
  auto y = drop(x);
  sum(y).backward();
  CHECK(x.grad().to_vector() == y.detach().to_vector());
}

TEST_CASE("Dropout refuses a probability of 1 and more") {
  test::check_error<ValueError>([] { nn::Dropout(1); }, "Dropout: p is 1, but must be in [0, 1)");
  test::check_error<ValueError>([] { nn::Dropout(-0.5); }, "Dropout: p is -0.5, but must be in [0, 1)");
  nn::Dropout drop;
  drop.p = 1.5;
  test::check_error<ValueError>([&] { drop(ones<float>({1})); }, "dropout: p is 1.5, but must be in [0, 1)");
}
