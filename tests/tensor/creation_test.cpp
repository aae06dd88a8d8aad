#include "gradus/tensor.hpp"

#include <algorithm>
#include <limits>
#include <set>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {
template <class T>
using Values = std::vector<T>;
}  // namespace

TEST_CASE("creation: constants") {
  CHECK(zeros<float>({2, 2}).to_vector() == Values<float>(4, 0));
  CHECK(ones<int32_t>({3}).to_vector() == Values<int32_t>(3, 1));
  CHECK(full<double>({2}, 2.5).to_vector() == Values<double>{2.5, 2.5});
  CHECK(zeros<bf16>({2}).to_vector().size() == 2);
  CHECK(full<float>({}, 4).rank() == 0);
  CHECK(zeros<float>({0, 3}).numel() == 0);
  auto x = zeros<uint8_t>({2, 3});
  CHECK(zeros_like(x).shape() == x.shape());
  CHECK(ones_like(x)(1, 2) == 1);
  CHECK(full_like(x, 7)(0, 0) == 7);
  CHECK(empty<float>({5}).shape() == Shape{5});
  CHECK(eye<float>(3).to_vector() == Values<float>{1, 0, 0, 0, 1, 0, 0, 0, 1});
  CHECK(eye<float>(0).shape() == Shape{0, 0});
  check_error<ShapeError>([] { eye<float>(-1); }, "tensor: shape (-1, -1) has a negative size");
}

TEST_CASE("creation: from lists") {
  CHECK(tensor<float>(2.5f).shape() == Shape{});
  CHECK(tensor<float>({1, 2, 3}).shape() == Shape{3});
  auto x = tensor<int64_t>({{1, 2, 3}, {4, 5, 6}});
  CHECK(x.shape() == Shape{2, 3});
  CHECK(x.to_vector() == Values<int64_t>{1, 2, 3, 4, 5, 6});
  CHECK(tensor<bool>({true, false}).to_vector() == Values<bool>{true, false});
  check_error<ShapeError>([] { tensor<float>({{1, 2}, {3}}); }, "tensor: a row of 1 values after rows of 2");
}

TEST_CASE("creation: from spans and vectors") {
  Values<float> values{1, 2, 3, 4, 5, 6};
  CHECK(from_vector(values, {2, 3})(1, 0) == 4);
  CHECK(from_span(std::span<const float>(values), {6})(5) == 6);
  CHECK(from_vector(Values<bool>{true, false}, {2, 1}).to_vector() == Values<bool>{true, false});
  check_error<ShapeError>([&] { from_vector(values, {2, 2}); }, "from_span: 6 values for shape (2, 2)");
  check_error<ShapeError>([&] { from_vector(Values<bool>{true}, {2}); }, "from_vector: 1 values for shape (2,)");
}

TEST_CASE("creation: ranges") {
  CHECK(arange<int64_t>(4).to_vector() == Values<int64_t>{0, 1, 2, 3});
  CHECK(arange<int32_t>(2, 9, 3).to_vector() == Values<int32_t>{2, 5, 8});
  CHECK(arange<int32_t>(2, 8, 3).to_vector() == Values<int32_t>{2, 5});
  CHECK(arange<int32_t>(5, 0, -2).to_vector() == Values<int32_t>{5, 3, 1});
  CHECK(arange<uint8_t>(250, 255, 2).to_vector() == Values<uint8_t>{250, 252, 254});
  CHECK(arange<float>(0, 1, 0.25f).to_vector() == Values<float>{0, 0.25f, 0.5f, 0.75f});
  CHECK(arange<double>(1, 0, -0.5).to_vector() == Values<double>{1, 0.5});
  CHECK(arange<int64_t>(5, 2).numel() == 0);
  CHECK(arange<int64_t>(-3).numel() == 0);
  CHECK(arange<float>(1, 0).numel() == 0);
  constexpr auto top = std::numeric_limits<int64_t>::max();
  CHECK(arange<int64_t>(top - 3, top).to_vector() == Values<int64_t>{top - 3, top - 2, top - 1});
  CHECK(arange<int64_t>(-top - 1, top, top).to_vector() == Values<int64_t>{-top - 1, -1, top - 1});
  CHECK(arange<int64_t>(top, -top - 1, -top).to_vector() == Values<int64_t>{top, 0, -top});
  constexpr auto top32 = std::numeric_limits<int32_t>::max();
  CHECK(arange<int32_t>(-top32, top32, top32).to_vector() == Values<int32_t>{-top32, 0});
  check_error<ValueError>([] { arange<int64_t>(0, 5, 0); }, "arange: the step must not be 0");
  check_error<ValueError>([] { arange<float>(0, 5, 0); }, "arange: the step must not be 0");
  check_error<ValueError>([] { arange<float>(0, std::numeric_limits<float>::infinity(), 1); },
                          "arange: from 0 to inf in steps of 1 is no countable range");
  check_error<ValueError>([] { arange<double>(0, 1, std::numeric_limits<double>::quiet_NaN()); },
                          "arange: from 0 to 1 in steps of nan is no countable range");
}

TEST_CASE("creation: evenly spaced values") {
  CHECK(linspace<double>(0, 1, 5).to_vector() == Values<double>{0, 0.25, 0.5, 0.75, 1});
  CHECK(linspace<float>(2, -2, 3).to_vector() == Values<float>{2, 0, -2});
  CHECK(linspace<float>(3, 9, 1).to_vector() == Values<float>{3});
  CHECK(linspace<float>(3, 9, 0).numel() == 0);
  check_error<ValueError>([] { linspace<float>(0, 1, -1); }, "linspace: -1 values");
}

TEST_CASE("creation: random numbers repeat after manual_seed, at any number of threads") {
  auto before = num_threads();
  auto draw = [] {
    manual_seed(11);
    auto uniform = rand<float>({100000}), normal = randn<float>({50000});
    auto whole = randint<int64_t>(0, 1000, {100}), order = randperm(100);
    return std::tuple(uniform.to_vector(), normal.to_vector(), whole.to_vector(), order.to_vector());
  };
  set_num_threads(1);
  auto alone = draw();
  set_num_threads(4);
  auto together = draw();
  set_num_threads(before);
  CHECK(alone == together);
  manual_seed(12);
  CHECK(rand<float>({100000}).to_vector() != std::get<0>(alone));
}

TEST_CASE("creation: random tensors continue one stream") {
  manual_seed(3);
  auto first = rand<float>({4}), second = rand<float>({4});
  manual_seed(3);
  auto both = rand<float>({8}).to_vector();
  CHECK(first.to_vector() == Values<float>(both.begin(), both.begin() + 4));
  CHECK(second.to_vector() == Values<float>(both.begin() + 4, both.end()));
}

TEMPLATE_TEST_CASE("creation: uniform numbers stay from low to high", "", float, double, bf16, f16) {
  using T = TestType;
  manual_seed(1);
  for (auto [low, high] : {std::pair(0.0, 1.0), {1.0, 2.0}, {-1.0, 0.0}, {-3.0, -2.9}, {0.0, 1e-30}}) {
    int outside = 0;
    for (auto value : rand<T>({20000}, low, high).to_vector()) {
      auto x = static_cast<double>(value);
      outside += !(x >= static_cast<double>(static_cast<T>(low)) && x < high);
    }
    INFO(low << ' ' << high);
    CHECK(outside == 0);
  }
}

TEST_CASE("creation: uniform ranges are checked") {
  check_error<ValueError>([] { rand<float>({1}, 1, 1); }, "rand: the range [1, 1) is empty or not finite");
  check_error<ValueError>([] { rand<float>({1}, 0, std::numeric_limits<double>::infinity()); },
                          "rand: the range [0, inf) is empty or not finite");
}

TEST_CASE("creation: normal numbers") {
  manual_seed(2);
  double sum = 0, squares = 0;
  for (auto x : randn<double>({40000}).to_vector()) {
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / 40000) < 0.02);
  CHECK(std::abs(squares / 40000 - 1) < 0.03);
}

TEMPLATE_TEST_CASE("creation: each random number is the stream's of its place", "", float, double, bf16, f16) {
  using T = TestType;
  for (int64_t count : {1, 15, 127, 128, 129, 8191, 8193, 40001}) {
    manual_seed(5);
    auto uniform = rand<T>({count}, -0.5, 1.5).to_vector(), normal = randn<T>({count}).to_vector();
    manual_seed(5);
    auto of_uniform = default_generator().reserve(count), of_normal = default_generator().reserve(2 * count);
    int unequal = 0;
    double furthest = 0;
    for (int64_t i = 0; i < count; ++i) {
      auto at = static_cast<size_t>(i);
      auto wanted = static_cast<T>(-0.5 + 2.0 * static_cast<double>(of_uniform.uniform(i)));
      wanted = std::min(wanted, gradus::detail::largest_below<T>(1.5));
      unequal += static_cast<double>(uniform[at]) != static_cast<double>(wanted);
      auto exact = of_normal.normal(i), scale = std::max(std::abs(exact), 1e-3);
      furthest = std::max(furthest, std::abs(static_cast<double>(normal[at]) - exact) / scale);
    }
    INFO(count);
    CHECK(unequal == 0);
    CHECK(furthest <= (std::is_same_v<T, double> ? 2e-15 : std::is_same_v<T, float> ? 6e-8 : 4e-3));
  }
}

TEST_CASE("creation: random whole numbers") {
  manual_seed(4);
  std::set<int32_t> seen;
  for (auto value : randint<int32_t>(-2, 3, {1000}).to_vector()) seen.insert(value);
  CHECK(seen == std::set<int32_t>{-2, -1, 0, 1, 2});
  CHECK(randint<uint8_t>(255, 256, {3}).to_vector() == Values<uint8_t>(3, 255));
  constexpr auto top = std::numeric_limits<int64_t>::max();
  auto wide = randint<int64_t>(-top - 1, top, {1000}).to_vector();
  CHECK(std::any_of(wide.begin(), wide.end(), [](int64_t x) { return x < -top / 2; }));
  CHECK(std::any_of(wide.begin(), wide.end(), [](int64_t x) { return x > top / 2; }));
  check_error<ValueError>([] { randint<int64_t>(3, 3, {1}); }, "randint: the range [3, 3) is empty");
  check_error<ValueError>([] { randint<uint8_t>(0, 257, {1}); }, "randint: the range [0, 257) does not fit uint8");
  check_error<ValueError>([] { randint<uint8_t>(-1, 5, {1}); }, "randint: the range [-1, 5) does not fit uint8");
  check_error<ValueError>([] { randint<int32_t>(0, int64_t{1} << 32, {1}); },
                          "randint: the range [0, 4294967296) does not fit int32");
}

TEST_CASE("creation: random permutations hold every number once, each order as likely") {
  manual_seed(6);
  auto order = randperm(1000).to_vector();
  CHECK(order != arange<int64_t>(1000).to_vector());
  std::sort(order.begin(), order.end());
  CHECK(order == arange<int64_t>(1000).to_vector());
  std::vector<int> counts(6);
  for (int i = 0; i < 6000; ++i) {
    auto p = randperm(3);
    ++counts[static_cast<size_t>(p(0) * 2 + (p(1) > p(2)))];
  }
  for (auto count : counts) CHECK(std::abs(count - 1000) < 120);
  CHECK(randperm(0).numel() == 0);
  CHECK(randperm(1).item() == 0);
  check_error<ValueError>([] { randperm(-1); }, "randperm: -1 numbers");
}
