#include "gradus/autograd/hooks.hpp"

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {
Tensor<double> watched_leaf() { return tensor<double>({1, 2, 3}).set_requires_grad(); }
}  // namespace

TEST_CASE("hooks: see the whole gradient of a leaf, or of a result that several operators use") {
  auto x = watched_leaf();
  auto y = x * x;
  std::vector<std::vector<double>> seen;
  register_hook(x, [&](const Tensor<double>& gradient) { seen.push_back(gradient.to_vector()); });
  register_hook(y, [&](const Tensor<double>& gradient) { seen.push_back(gradient.to_vector()); });
  sum(y * 2.0 + y * 3.0).backward();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0] == std::vector<double>{5, 5, 5});
  CHECK(seen[1] == std::vector<double>{10, 20, 30});
  CHECK(x.grad().to_vector() == std::vector<double>{10, 20, 30});
}

TEST_CASE("hooks: what they return goes on, one after the other, and collected gradients do not pass again") {
  auto x = watched_leaf();
  register_hook(x, [](const Tensor<double>& gradient) { return gradient * 10.0; });
  auto second = register_hook(x, [](const Tensor<double>& gradient) { return gradient + 1.0; });
  sum(x * 2.0).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{21, 21, 21});
  second.remove();
  second.remove();
  sum(x * 2.0).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{41, 41, 41});
  auto y = x * 1.0;
  register_hook(y, [](const Tensor<double>& gradient) { return gradient * 0.0; });
  CHECK(grad(sum(y), x).to_vector() == std::vector<double>{0, 0, 0});
}

TEST_CASE("hooks: gradients of gradients go through them, and one output of several has its own") {
  auto x = watched_leaf();
  auto y = x * x * x;
  register_hook(y, [](const Tensor<double>& gradient) { return gradient * 2.0; });
  auto first = grad(sum(y), x, {.create_graph = true});
  CHECK(first.to_vector() == std::vector<double>{6, 24, 54});
  CHECK(grad(sum(first), x).to_vector() == std::vector<double>{12, 24, 36});
}

TEST_CASE("hooks: live as long as the place in the graph, and no longer") {
  auto token = std::make_shared<int>(1);
  HookHandle handle;
  {
    auto x = watched_leaf();
    auto y = x * 2.0;
    handle = register_hook(y, [token](const Tensor<double>&) {});
    CHECK(token.use_count() == 2);
  }
  handle.remove();
  handle = {};
  CHECK(token.use_count() == 1);
  HookHandle self;
  int calls = 0;
  auto x = watched_leaf();
  self = register_hook(x, [&](const Tensor<double>&) {
    ++calls;
    self.remove();
  });
  sum(x * 1.0).backward();
  sum(x * 1.0).backward();
  CHECK(calls == 1);
}

TEST_CASE("hooks: errors") {
  auto plain = tensor<double>({1, 2});
  check_error<AutogradError>([&] { register_hook(plain, [](const Tensor<double>&) {}); },
                             "register_hook: this tensor needs no gradient, so the hook would never run");
  auto x = watched_leaf();
  auto y = x * 2.0;
  register_hook(y, [](const Tensor<double>&) { return ones<double>({2}); });
  check_error<ShapeError>([&] { sum(y).backward(); },
                          "backward: a hook of 'multiply' returns a gradient (2,) for one that is (3,)");
}
