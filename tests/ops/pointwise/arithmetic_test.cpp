#include "gradus/ops/pointwise/arithmetic.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
operators = [("add", torch.add), ("subtract", torch.subtract), ("multiply", torch.multiply), ("divide", torch.divide)]
for name, f in operators:
    case(name, f, uniform(-3, 3, 3, 17), uniform(1, 4, 3, 17))
    case(name, f, uniform(-3, 3, 4, 1, 5), uniform(1, 4, 3, 1))
    case(name, f, uniform(-3, 3), uniform(1, 4, 2, 3))
    case(name, f, randn(1), uniform(1, 4, 0, 3))
    case(name, f, *special_pairs(), order=1)
for name, f in operators[:3]:
    case(name + " of whole numbers", f, integers(0, 100, 4, 9), integers(0, 100, 9))
cut = lambda a, b: torch.div(a, b, rounding_mode="trunc")
case("divide of whole numbers", cut, integers(0, 100, 4, 9), integers(1, 30, 9))
case("divide of negative numbers", cut, integers(-100, 100, 4, 9), integers(-30, 0, 9))
case("negate", torch.negative, randn(3, 17))
case("negate", torch.negative, special(), order=1)
case("numbers on the right", lambda x: ((x + 1.5) * 2 - 0.25) / 3, randn(3, 17))
case("numbers on the left", lambda x: 1 / (2 - (0.5 + 0.25 * x)), uniform(-2, 2, 3, 17))
*/

using namespace gradus;

TEST_CASE("add") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return a + b; };
  test::check_operator("add", call, {.pointwise = true});
  test::check_operator<int64_t, uint8_t>("add of whole numbers", call, {.pointwise = true});
}

TEST_CASE("subtract") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return a - b; };
  test::check_operator("subtract", call, {.pointwise = true});
  test::check_operator<int64_t, uint8_t>("subtract of whole numbers", call, {.pointwise = true});
}

TEST_CASE("multiply") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return a * b; };
  test::check_operator("multiply", call, {.pointwise = true});
  test::check_operator<int64_t, uint8_t>("multiply of whole numbers", call, {.pointwise = true});
}

TEST_CASE("divide") {
  auto call = []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return a / b; };
  test::check_operator("divide", call, {.pointwise = true});
  test::check_operator<int64_t, int32_t, uint8_t>("divide of whole numbers", call, {.pointwise = true});
  test::check_operator<int64_t, int32_t>("divide of negative numbers", call, {.pointwise = true});
}

TEST_CASE("division of whole numbers never traps") {
  constexpr auto lowest = std::numeric_limits<int64_t>::lowest();
  CHECK((tensor<int64_t>({7, -7, 0, lowest}) / tensor<int64_t>({0, 0, 0, -1})).to_vector() ==
        std::vector<int64_t>{0, 0, 0, lowest});
  CHECK((tensor<int32_t>({7, std::numeric_limits<int32_t>::lowest()}) / -1).to_vector() ==
        std::vector<int32_t>{-7, std::numeric_limits<int32_t>::lowest()});
}

TEST_CASE("small whole numbers wrap") {
  CHECK((tensor<uint8_t>({200, 0}) + tensor<uint8_t>({100, 1})).to_vector() == std::vector<uint8_t>{44, 1});
  CHECK((-tensor<uint8_t>({1, 0})).to_vector() == std::vector<uint8_t>{255, 0});
}

TEST_CASE("negate") {
  test::check_operator<double, float>("negate", []<class T>(const Tensor<T>& x) { return -x; }, {.pointwise = true});
}

TEST_CASE("arithmetic with numbers") {
  test::check_operator<double>("numbers on the right",
                               []<class T>(const Tensor<T>& x) { return ((x + 1.5) * 2 - 0.25) / 3; },
                               {.pointwise = true});
  test::check_operator<double>("numbers on the left",
                               []<class T>(const Tensor<T>& x) { return 1 / (2 - (0.5 + 0.25 * x)); },
                               {.pointwise = true});
}

TEST_CASE("shapes that arithmetic refuses") {
  test::check_error<ShapeError>(
      [] {
        return zeros<float>({2, 3}) + zeros<float>({4, 3});
      },
      "add: shapes (2, 3) and (4, 3) do not broadcast: sizes 2 and 4 must be equal, or one of them 1");
  test::check_error<ValueError>([] { return zeros<float>({2}) * Tensor<float>(); },
                                "multiply: a tensor was used before it was given a value");
}
