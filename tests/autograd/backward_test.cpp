// backward(), grad(), and what they refuse.
#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

template <Floating T>
Tensor<T> leaf(Tensor<T> x) {
  return x.set_requires_grad();
}
template <Floating T>
std::vector<T> numbers(const Tensor<T>& x) {
  return x.to_vector();
}
using Values = std::vector<double>;

/// The sum of all elements, with views and additions only.
Tensor<double> total(const Tensor<double>& x) {
  auto sum = select(x, 0, 0);
  for (int64_t i = 1; i < x.size(0); ++i) sum = sum + select(x, 0, i);
  return sum;
}

}  // namespace

TEST_CASE("backward: gradients of a scalar reach every leaf") {
  auto x = leaf(tensor<double>({1, 2, 3})), y = leaf(tensor<double>({4, 5, 6}));
  auto constant = tensor<double>({7, 8, 9});
  auto loss = total(x * y + x * constant);
  CHECK(loss.requires_grad());
  CHECK(!constant.requires_grad());
  CHECK(!x.grad().defined());
  loss.backward();
  CHECK(numbers(x.grad()) == Values{11, 13, 15});
  CHECK(numbers(y.grad()) == Values{1, 2, 3});
  CHECK(!constant.grad().defined());
  CHECK(!loss.grad().defined());  // only leaves collect
  CHECK(!x.grad().requires_grad());
}

TEST_CASE("backward: a value used several times collects from all uses") {
  auto x = leaf(tensor<double>(3));
  auto y = x * x;      // 9
  auto z = y * y + y;  // x^4 + x^2
  z.backward();
  CHECK(x.grad().item() == 4 * 27 + 2 * 3);
}

TEST_CASE("backward: broadcasting sums, views scatter") {
  auto row = leaf(tensor<double>({1, 2}));                         // (2,)
  auto column = leaf(reshape(tensor<double>({3, 4, 5}), {3, 1}));  // (3, 1)
  auto product = row * column;                                     // (3, 2)
  product.backward(tensor<double>({{1, 10}, {100, 1000}, {10000, 100000}}));
  CHECK(numbers(row.grad()) == Values{3 + 400 + 50000, 30 + 4000 + 500000});
  CHECK(column.grad().shape() == Shape{3, 1});
  CHECK(numbers(column.grad()) == Values{21, 2100, 210000});

  auto matrix = leaf(reshape(arange<double>(6), {2, 3}));
  total(slice(transpose(matrix), 1, 1, 2)).backward(tensor<double>({1}));
  CHECK(numbers(matrix.grad()) == Values{0, 0, 0, 1, 1, 1});
}

TEST_CASE("backward: gradients add up in a leaf until they are cleared") {
  auto x = leaf(tensor<double>(3));
  (x * x).backward();
  (x * 10.0).backward();
  CHECK(x.grad().item() == 16);
  auto kept = x.grad();
  x.set_grad({});
  CHECK(!x.grad().defined());
  (x * x).backward();
  CHECK(x.grad().item() == 6);
  CHECK(kept.item() == 16);
  x.set_grad(tensor<double>(100));
  (x * 1.0).backward();
  CHECK(x.grad().item() == 101);
}

TEST_CASE("backward: a collected gradient shares no memory with what the caller passed in") {
  auto x = leaf(tensor<double>({1, 2}));
  auto seed = tensor<double>({5, 6});
  auto y = reshape(x, {2});
  y.backward(seed, true);
  seed.fill_(0);
  CHECK(numbers(x.grad()) == Values{5, 6});
  auto a = leaf(tensor<double>({1, 2})), b = leaf(tensor<double>({1, 2}));
  (a + b).backward(tensor<double>({1, 1}));
  a.grad().fill_(9);
  CHECK(numbers(b.grad()) == Values{1, 1});
}

TEST_CASE("backward: of a leaf itself") {
  auto x = leaf(tensor<double>(3));
  x.backward();
  CHECK(x.grad().item() == 1);
}

TEST_CASE("backward: a graph is freed by its first walk, unless it is to be retained") {
  auto x = leaf(tensor<double>(3));
  auto y = x * x;
  y.backward(true);
  y.backward();
  CHECK(x.grad().item() == 12);
  auto freed =
      "backward: the graph of 'multiply' was freed by an earlier backward; pass retain_graph = true there to walk it "
      "twice";
  check_error<AutogradError>([&] { y.backward(); }, freed);
  check_error<AutogradError>([&] { grad(y, x); }, freed);
  check_error<AutogradError>([&] { (y * 2.0).backward(); }, freed);
  CHECK(x.grad().item() == 12);  // what failed added nothing
}

TEST_CASE("backward: what it refuses") {
  auto x = leaf(tensor<double>({1, 2}));
  check_error<ShapeError>([&] { (x * x).backward(); },
                          "backward: a tensor of shape (2,) is not a scalar; reduce it first, or pass the gradient to "
                          "start with");
  check_error<ShapeError>(
      [&] {
        (x * x).backward(tensor<double>({1, 2, 3}));
      },
      "backward: the gradient is (3,) but the tensor is (2,)");
  check_error<AutogradError>([] { tensor<double>(1).backward(); },
                             "backward: nothing was recorded for this tensor; no input requires a gradient");
  check_error<AutogradError>([&] { tensor<double>(1).set_grad({}); },
                             "set_grad: only a leaf that requires a gradient has one");
  check_error<ShapeError>(
      [&] {
        x.set_grad(tensor<double>({1, 2, 3}));
      },
      "set_grad: the gradient is (3,) but the tensor is (2,)");
  auto y = x * x;
  check_error<AutogradError>([&] { y.set_requires_grad(); },
                             "set_requires_grad: this tensor was computed by 'multiply'; only leaves can be asked, "
                             "detach() it first");
  check_error<TypeError>([] { zeros<int64_t>({1}).set_requires_grad(); },
                         "set_requires_grad: a tensor of int64 has no gradient; cast it to a floating type");
}

TEST_CASE("set_requires_grad: a leaf can stop, and a detached tensor can start") {
  auto x = leaf(tensor<double>(3));
  auto y = x * x;
  auto z = y.detach().set_requires_grad();
  CHECK(!y.detach().requires_grad());
  (z * x).backward();
  CHECK(z.grad().item() == 3);
  CHECK(x.grad().item() == 9);
  x.set_requires_grad(false);
  CHECK(!x.requires_grad());
  CHECK(!x.grad().defined());
  CHECK(!(x * x).requires_grad());
}

TEST_CASE("no_grad: nothing is recorded, on this thread, until it ends") {
  auto x = leaf(tensor<double>(3));
  CHECK(grad_enabled());
  {
    NoGradGuard guard;
    CHECK(!grad_enabled());
    CHECK(!(x * x).requires_grad());
    CHECK(!transpose(expand(x, {1, 1})).requires_grad());
    no_grad([] {});
    CHECK(!grad_enabled());
  }
  CHECK(grad_enabled());
  CHECK(no_grad([&] { return x * x; }).item() == 9);
  CHECK_THROWS(no_grad([]() -> int { throw std::runtime_error("x"); }));
  CHECK(grad_enabled());
}

TEST_CASE("grad: returns gradients and leaves grad() alone") {
  auto x = leaf(tensor<double>(2)), y = leaf(tensor<double>(5));
  auto z = x * x * y;
  auto gradients = grad(z, std::vector{x, y});
  CHECK(gradients[0].item() == 20);
  CHECK(gradients[1].item() == 4);
  CHECK(!gradients[0].requires_grad());
  CHECK(!x.grad().defined());
  CHECK(!y.grad().defined());
}

TEST_CASE("grad: the third derivative of x^4") {
  auto x = leaf(tensor<double>({2, 3}));
  auto one = ones<double>({2});
  auto y = x * x * x * x;
  auto first = grad(y, x, {.create_graph = true}, one);
  CHECK(numbers(first) == Values{4 * 8, 4 * 27});
  auto second = grad(first, x, {.create_graph = true}, one);
  CHECK(numbers(second) == Values{12 * 4, 12 * 9});
  auto third = grad(second, x, {.create_graph = true}, one);
  CHECK(numbers(third) == Values{24 * 2, 24 * 3});
  auto fourth = grad(third, x, {}, one);
  CHECK(numbers(fourth) == Values{24, 24});
  CHECK(!fourth.requires_grad());
}

TEST_CASE("grad: a recorded gradient is part of the graph that backward walks") {
  auto x = leaf(tensor<double>(3));
  auto y = x * x * x;
  auto slope = grad(y, x, {.create_graph = true});  // 3 x^2
  (slope * slope).backward();                       // d(9 x^4)/dx = 36 x^3
  CHECK(x.grad().item() == 36 * 27);
}

TEST_CASE("grad: with respect to a value in the middle, whose own graph stays") {
  auto x = leaf(tensor<double>(3));
  auto middle = x * x;
  auto y = middle * middle;
  CHECK(grad(y, middle).item() == 18);
  CHECK(!x.grad().defined());
  middle.backward();  // not freed: the walk ended there
  CHECK(x.grad().item() == 6);
  CHECK(grad(x * 1.0, x).item() == 1);
  auto z = x * 2.0;
  CHECK(grad(z, z).item() == 1);  // of a tensor with respect to itself
}

TEST_CASE("grad: computes nothing that leads to no input, and frees nothing there") {
  auto x = leaf(tensor<double>(3)), y = leaf(tensor<double>(4));
  int calls = 0;
  auto counted = differentiable("counted", (y * 1.0).detach(), wrt(y, [&](const Tensor<double>& dy) {
                                  ++calls;
                                  return dy;
                                }));
  auto z = x * counted;
  CHECK(grad(z, x, {.retain_graph = true}).item() == 4);
  CHECK(calls == 0);
  z.backward();
  CHECK(calls == 1);
  CHECK(y.grad().item() == 3);
}

TEST_CASE("grad: an input that does not matter") {
  auto x = leaf(tensor<double>(3)), y = leaf(tensor<double>(4));
  auto z = x * x;
  check_error<AutogradError>(
      [&] {
        grad(z, std::vector{x, y}, {.retain_graph = true});
      },
      "grad: y does not depend on input 1; pass allow_unused = true to get an undefined tensor "
      "for it");
  auto gradients = grad(z, std::vector{x, y}, {.allow_unused = true});
  CHECK(gradients[0].item() == 6);
  CHECK(!gradients[1].defined());
}

TEST_CASE("grad: what it refuses") {
  auto x = leaf(tensor<double>({1, 2}));
  auto y = x * x;
  check_error<ShapeError>([&] { grad(y, x); },
                          "grad: y of shape (2,) is not a scalar; pass the gradient to start with");
  check_error<ShapeError>([&] { grad(y, x, {}, tensor<double>(1)); }, "grad: the gradient is () but y is (2,)");
  check_error<AutogradError>([&] { grad(tensor<double>(1), x); },
                             "grad: nothing was recorded for y; no input requires a gradient");
  check_error<AutogradError>(
      [&] {
        grad(total(y), std::vector{x, tensor<double>(1)});
      },
      "grad: input 1 does not require a gradient");
}

TEST_CASE("grad: gradient mode is restored, also after an error") {
  auto x = leaf(tensor<double>(3));
  auto fails =
      differentiable("fails", tensor<double>(1),
                     wrt(x, [](const Tensor<double>&) -> Tensor<double> { throw std::runtime_error("inside"); }));
  CHECK_THROWS_WITH(grad(fails, x), "inside");
  CHECK(grad_enabled());
  CHECK_THROWS_WITH(fails.backward(), "inside");
  CHECK(grad_enabled());
  no_grad([&] {
    auto y = grad(x, x, {.create_graph = true});
    CHECK(!grad_enabled());
  });
  CHECK(grad_enabled());
}

TEST_CASE("cast: float and bf16 parts join in one graph") {
  auto x = leaf(tensor<float>({1, 2, 3}));
  auto half = cast<bf16>(x);
  auto y = half * half;         // in bf16
  auto z = cast<float>(y) * x;  // x^3
  auto w = cast<double>(z);
  w.backward(ones<double>({3}));
  CHECK(x.grad().to_vector() == std::vector<float>{3, 12, 27});
  auto weight = leaf(full<bf16>({2}, bf16(3)));
  auto loss = cast<float>(weight) * tensor<float>({2, 4});
  loss.backward(ones<float>({2}));
  CHECK(static_cast<float>(weight.grad()(1)) == 4);
  CHECK(std::is_same_v<decltype(weight.grad()), Tensor<bf16>>);
}

TEST_CASE("grad: a part of the graph that was freed matters only when it lies on the way") {
  auto x = leaf(tensor<double>(3)), y = leaf(tensor<double>(4));
  auto freed = y * y;
  freed.backward();
  auto z = x * x + freed;
  CHECK(grad(z, x, {.retain_graph = true}).item() == 6);
  CHECK(grad(z, freed, {.retain_graph = true}).item() == 1);
  check_error<AutogradError>([&] { grad(z, y, {.allow_unused = true}); },
                             "backward: the graph of 'multiply' was freed by an earlier backward; pass retain_graph = "
                             "true there to walk it twice");
}
