// A user's own functions with their own gradients.
#include "gradus/autograd/differentiable.hpp"

#include "gradus/autograd/hooks.hpp"
#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

using Doubles = Tensor<double>;
using Values = std::vector<double>;

Doubles leaf(Doubles x) { return x.set_requires_grad(); }

/// a * b, with a closure for each input. Counts the calls.
Doubles product(const Doubles& a, const Doubles& b, std::array<int, 2>& calls) {
  auto y = a.detach() * b.detach();
  return differentiable("product", y,
                        wrt(a,
                            [b = saved(b), &calls](const Doubles& dy) {
                              ++calls[0];
                              return dy * b();
                            }),
                        wrt(b, [a = saved(a), &calls](const Doubles& dy) {
                          ++calls[1];
                          return dy * a();
                        }));
}

/// (a + b, a - b, a * b), with one closure for all.
std::array<Doubles, 3> sum_difference_product(const Doubles& a, const Doubles& b, std::array<bool, 3>& arrived,
                                              std::array<bool, 2>& wanted_inputs) {
  std::array<Doubles, 3> ys{a.detach() + b.detach(), a.detach() - b.detach(), a.detach() * b.detach()};
  return differentiable("sum_difference_product", ys, inputs(a, b),
                        [a = saved(a), b = saved(b), &arrived, &wanted_inputs](const std::array<Doubles, 3>& dys,
                                                                               const std::array<bool, 2>& wanted) {
                          wanted_inputs = wanted;
                          auto da = zeros<double>(a().shape()), db = zeros<double>(a().shape());
                          for (size_t i = 0; i < 3; ++i) arrived[i] = dys[i].defined();
                          if (dys[0].defined()) da = da + dys[0], db = db + dys[0];
                          if (dys[1].defined()) da = da + dys[1], db = db - dys[1];
                          if (dys[2].defined()) da = da + dys[2] * b(), db = db + dys[2] * a();
                          return std::tuple(wanted[0] ? da : Doubles(), wanted[1] ? db : Doubles());
                        });
}

}  // namespace

TEST_CASE("differentiable: one closure an input, called when that input needs a gradient") {
  std::array<int, 2> calls{};
  auto a = leaf(tensor<double>(3)), b = leaf(tensor<double>(5));
  product(a, b, calls).backward();
  CHECK(a.grad().item() == 5);
  CHECK(b.grad().item() == 3);
  CHECK(calls == std::array{1, 1});
  product(a, tensor<double>(2), calls).backward();
  CHECK(calls == std::array{2, 1});
  CHECK(grad(product(a, b, calls), b).item() == 3);
  CHECK(calls == std::array{2, 2});
  CHECK(!product(tensor<double>(1), tensor<double>(2), calls).requires_grad());
  CHECK(!no_grad([&] { return product(a, b, calls); }).requires_grad());
}

TEST_CASE("differentiable: closures made of operators give gradients of any order") {
  std::array<int, 2> calls{};
  auto x = leaf(tensor<double>(3));
  auto y = product(product(x, x, calls), x, calls);  // x^3
  auto first = grad(y, x, {.create_graph = true});
  CHECK(first.item() == 27);
  auto second = grad(first, x, {.create_graph = true});
  CHECK(second.item() == 18);
  CHECK(grad(second, x).item() == 6);
}

TEST_CASE("differentiable: one closure for several outputs") {
  std::array<bool, 3> arrived{};
  std::array<bool, 2> wanted{};
  auto a = leaf(tensor<double>({3, 4})), b = leaf(tensor<double>({5, 6}));
  auto [sum, difference, times] = sum_difference_product(a, b, arrived, wanted);
  (sum + difference * 10.0 + times * 100.0).backward(ones<double>({2}));
  CHECK(arrived == std::array{true, true, true});
  CHECK(wanted == std::array{true, true});
  CHECK(a.grad().to_vector() == Values{11 + 500, 11 + 600});
  CHECK(b.grad().to_vector() == Values{-9 + 300, -9 + 400});
}

TEST_CASE("differentiable: outputs that nobody used have no gradient") {
  std::array<bool, 3> arrived{};
  std::array<bool, 2> wanted{};
  auto a = leaf(tensor<double>({3, 4}));
  auto ys = sum_difference_product(a, tensor<double>({5, 6}), arrived, wanted);
  ys[1].backward(ones<double>({2}));
  CHECK(arrived == std::array{false, true, false});
  CHECK(wanted == std::array{true, false});
  CHECK(a.grad().to_vector() == Values{1, 1});
  auto again = sum_difference_product(a, tensor<double>({5, 6}), arrived, wanted);
  CHECK(grad(again[2], a, {}, ones<double>({2})).to_vector() == Values{5, 6});
  CHECK(arrived == std::array{false, false, true});
  CHECK(!sum_difference_product(a.detach(), a.detach(), arrived, wanted)[0].requires_grad());
}

TEST_CASE("differentiable: an output used twice, and one that is a target") {
  std::array<bool, 3> arrived{};
  std::array<bool, 2> wanted{};
  auto a = leaf(tensor<double>(3)), b = leaf(tensor<double>(5));
  auto ys = sum_difference_product(a, b, arrived, wanted);
  auto z = ys[2] * ys[2] + ys[1];  // (ab)^2 + a - b
  auto gradients = grad(z, std::vector{ys[1], ys[2], a}, {.retain_graph = true});
  CHECK(gradients[0].item() == 1);
  CHECK(gradients[1].item() == 30);
  CHECK(gradients[2].item() == 30 * 5 + 1);
  z.backward();
  CHECK(b.grad().item() == 30 * 3 - 1);
}

TEST_CASE("differentiable: one closure for all inputs of a single output") {
  auto a = leaf(tensor<double>(3)), b = leaf(tensor<double>(5));
  auto y = differentiable("both", a.detach() * b.detach(), inputs(a, b),
                          [a = saved(a), b = saved(b)](const Doubles& dy, const std::array<bool, 2>& wanted) {
                            return std::tuple(wanted[0] ? dy * b() : Doubles(), wanted[1] ? dy * a() : Doubles());
                          });
  y.backward();
  CHECK(a.grad().item() == 5);
  CHECK(b.grad().item() == 3);
}

namespace {

/// 3 x, whose closure adds up what arrives and writes down whether there were two.
Doubles tripled(const Doubles& x, std::vector<bool>& two_came) {
  return differentiable_adding("tripled", x.detach() * 3.0, inputs(x),
                               [&two_came](std::array<Doubles, 2>& dys, const std::array<bool, 1>&) {
                                 two_came.push_back(dys[1].defined());
                                 return std::tuple((dys[1].defined() ? dys[0] + dys[1] : dys[0]) * 3.0);
                               });
}

}  // namespace

TEST_CASE("differentiable_adding: the first two gradients of an output arrive apart, more are added before") {
  std::vector<bool> two_came;
  auto x = leaf(tensor<double>({1, 2}));
  auto gradient = [&](auto&& of) {
    x.set_grad({});
    sum(of(tripled(x, two_came))).backward();
    return x.grad().to_vector();
  };
  CHECK(gradient([](const Doubles& y) { return y * 2.0; }) == Values{6, 6});
  CHECK(gradient([](const Doubles& y) { return y * 2.0 + y * 5.0; }) == Values{21, 21});
  CHECK(gradient([](const Doubles& y) { return y * 2.0 + y * 5.0 + y * 7.0; }) == Values{42, 42});
  CHECK(gradient([](const Doubles& y) { return y * y; }) == Values{18, 36});
  CHECK(two_came == std::vector{false, true, true, true});
  CHECK_FALSE(tripled(x.detach(), two_came).requires_grad());
}

TEST_CASE("differentiable_adding: hooks, targets and recorded gradients see the sum") {
  std::vector<bool> two_came;
  std::vector<Values> seen;
  auto x = leaf(tensor<double>({1, 2}));
  auto y = tripled(x, two_came);
  auto z = sum(y * 2.0 + y * 5.0);
  auto gradients = grad(z, std::vector{y, x}, {.retain_graph = true});
  CHECK(gradients[0].to_vector() == Values{7, 7});
  CHECK(gradients[1].to_vector() == Values{21, 21});
  register_hook(y, [&](const Doubles& dy) { seen.push_back(dy.to_vector()); });
  z.backward();
  CHECK(seen == std::vector<Values>{{7, 7}});
  CHECK(x.grad().to_vector() == Values{21, 21});
  auto again = tripled(x, two_came);
  auto first = grad(sum(again * again * again + again * again), x, {.create_graph = true});  // 81 x^2 + 18 x
  CHECK(first.to_vector() == Values{99, 360});
  CHECK(grad(sum(first), x).to_vector() == Values{180, 342});
  CHECK(two_came == std::vector(two_came.size(), false));
}

TEST_CASE("differentiable: an output may be saved when it is detached") {
  auto x = leaf(tensor<double>({2, 4}));
  auto value = 1.0 / x.detach();
  auto y = differentiable("reciprocal", value,
                          wrt(x, [y = saved(value.detach())](const Doubles& dy) { return -(dy * y() * y()); }));
  y.backward(ones<double>({2}));
  CHECK(x.grad().to_vector() == Values{-0.25, -0.0625});
}

TEST_CASE("differentiable: inputs of other element types") {
  auto x = leaf(tensor<double>({2, 4}));
  auto weights = tensor<float>({1, 2}).set_requires_grad();
  auto y = differentiable("mixed", x.detach() * cast<double>(weights.detach()),
                          wrt(x, [w = saved(weights)](const Doubles& dy) { return dy * cast<double>(w()); }),
                          wrt(weights, [x = saved(x)](const Doubles& dy) { return cast<float>(dy * x()); }));
  y.backward(ones<double>({2}));
  CHECK(x.grad().to_vector() == Values{1, 2});
  CHECK(weights.grad().to_vector() == std::vector<float>{2, 4});
}

TEST_CASE("differentiable: a gradient of the wrong shape is an error that names the operator and the input") {
  auto a = leaf(tensor<double>({1, 2})), b = leaf(tensor<double>({1, 2}));
  auto wrong = [](const Doubles&) { return zeros<double>({3}); };
  auto right = [](const Doubles& dy) { return dy; };
  auto y = differentiable("mine", tensor<double>({1, 2}), wrt(a, right), wrt(b, wrong));
  check_error<ShapeError>([&] { y.backward(ones<double>({2})); },
                          "backward of 'mine': the gradient for input 1 is (3,) but the input is (2,)");
  auto z = differentiable("ours", tensor<double>({1, 2}), inputs(a, b), [](const Doubles&, const std::array<bool, 2>&) {
    return std::tuple(zeros<double>({}), zeros<double>({2}));
  });
  check_error<ShapeError>([&] { z.backward(ones<double>({2})); },
                          "backward of 'ours': the gradient for input 0 is () but the input is (2,)");
}

TEST_CASE("differentiable: a closure may leave a gradient out") {
  auto a = leaf(tensor<double>(1)), b = leaf(tensor<double>(2));
  auto y = differentiable("partly", tensor<double>(1), wrt(a, [](const Doubles& dy) { return dy; }),
                          wrt(b, [](const Doubles&) { return Doubles(); }));
  y.backward();
  CHECK(a.grad().item() == 1);
  CHECK(!b.grad().defined());
}
