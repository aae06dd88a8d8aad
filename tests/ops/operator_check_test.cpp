// The driver itself: an operator with one thing wrong must be caught by the check that looks for it.
#include "tests/support/operator_check.hpp"

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

/* golden
case("operator_check", lambda x: x * x, randn(5, 9))
case("operator_check kink", lambda x: x * x, torch.tensor([-0.0, 1.0]).double(), order=1)
*/

using namespace gradus;

namespace {

/// The checks that fail when the case is run with `f` instead of x * x.
template <class F>
std::vector<std::string> failures(F f, test::OperatorOptions options = {}, const char* group = "operator_check") {
  options.gpu = false;
  std::vector<std::string> found;
  auto types = {test::typed_operator<double>(f, &F::template operator()<double>),
                test::typed_operator<float>(f, &F::template operator()<float>)};
  for (const auto& one : test::golden_cases(group, __FILE__)) {
    for (const auto& result : test::run_checks(types, one, options)) {
      if (!result.problem.empty()) found.push_back(result.check);
    }
  }
  return found;
}

bool contains(const std::vector<std::string>& checks, const std::string& check) {
  return std::find(checks.begin(), checks.end(), check) != checks.end();
}

template <class T>
Tensor<T> square_with_gradient(const Tensor<T>& x, double factor, bool recorded = true) {
  return differentiable("square", (x * x).detach(), wrt(x, [=, x = saved(x)](const Tensor<T>& dy) {
                          return factor * dy * (recorded ? x() : x().detach());
                        }));
}

}  // namespace

TEST_CASE("a right operator passes every check") {
  CHECK(failures([]<class T>(const Tensor<T>& x) { return x * x; }, {.pointwise = true}).empty());
  CHECK(failures([]<class T>(const Tensor<T>& x) { return square_with_gradient(x, 2); }).empty());
}

TEST_CASE("a wrong value is caught") {
  auto checks = failures([]<class T>(const Tensor<T>& x) { return x * x + 1e-9; });
  CHECK(contains(checks, "double value"));
  CHECK_FALSE(contains(checks, "double finite differences"));
  CHECK(contains(failures([]<class T>(const Tensor<T>& x) { return std::is_same_v<T, float> ? x * x * 1.001 : x * x; }),
                 "float value"));
}

TEST_CASE("a zero with the wrong sign is caught") {
  auto f = []<class T>(const Tensor<T>& x) { return x * x * (x.shape() == Shape{2} ? -1 : 1) * -1 * -1; };
  CHECK(contains(failures(f, {}, "operator_check kink"), "double sign of zeros"));
}

TEST_CASE("a wrong gradient is caught against PyTorch and by differences") {
  auto checks = failures([]<class T>(const Tensor<T>& x) { return square_with_gradient(x, 2.00001); });
  CHECK(contains(checks, "double gradient 0"));
  CHECK(contains(checks, "double finite differences"));
}

TEST_CASE("a gradient that cannot be differentiated again is caught") {
  auto checks = failures([]<class T>(const Tensor<T>& x) { return square_with_gradient(x, 2, false); });
  CHECK(contains(checks, "double second gradient 0"));
  CHECK(contains(checks, "double finite differences of the gradient"));
  CHECK_FALSE(contains(checks, "double gradient 0"));
}

TEST_CASE("an operator that ignores strides is caught") {
  auto checks = failures([]<class T>(const Tensor<T>& x) {
    auto y = Tensor<T>::empty(x.shape());
    for (int64_t i = 0; i < x.numel(); ++i) y.mutable_data()[i] = x.data()[i] * x.data()[i];
    return y;
  });
  CHECK(contains(checks, "double scattered inputs"));
  CHECK(contains(checks, "double gapped inputs"));
}

TEST_CASE("memory that is never written is caught") {
  auto checks = failures([]<class T>(const Tensor<T>& x) {
    auto y = Tensor<T>::empty(x.shape());
    for (int64_t i = 0; i + 1 < x.numel(); ++i) y.mutable_data()[i] = x.data()[i] * x.data()[i];
    return y;
  });
  CHECK(contains(checks, "double value"));
}

TEST_CASE("an operator that writes into its input is caught") {
  auto checks = failures([]<class T>(const Tensor<T>& x) {
    auto y = x * x;
    x.detach().fill_(T(3));
    return y;
  });
  CHECK(contains(checks, "double input 0 stays as it was"));
}

TEST_CASE("values that depend on the position are caught") {
  auto checks = failures(
      []<class T>(const Tensor<T>& x) {
        auto y = (x * x).detach();
        auto* to = y.mutable_data();
        for (int64_t i = 0; i < y.numel(); i += 4) to[i] = std::nextafter(to[i], T(0));
        return y;
      },
      {.pointwise = true});
  CHECK(contains(checks, "double elements 1 to 1 alone"));
}

TEST_CASE("an exception is a failed check, not the end") {
  auto checks = failures([]<class T>(const Tensor<T>& x) -> Tensor<T> {
    require<ShapeError>(std::is_same_v<T, double>, "only double");
    return x * x;
  });
  CHECK(checks == std::vector<std::string>{"float exception"});
}

TEST_CASE("distances in units of the last place") {
  CHECK(test::ulp_error(1.0f, 1.0L) == 0);
  CHECK(test::ulp_error(std::nextafter(1.0f, 2.0f), 1.0L) == 1);
  CHECK(test::ulp_error(1.0, 1.0L + 0x1p-54L) == 0.25);
  CHECK(test::ulp_error(0.0f, 0x1p-150L) == 0.5);
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  CHECK(test::ulp_error(infinity, 1e39L) == 0);
  CHECK(std::isinf(test::ulp_error(infinity, 1.0L)));
  CHECK(std::isinf(test::ulp_error(1.0f, std::numeric_limits<long double>::quiet_NaN())));
}

TEST_CASE("a golden file without the case says so") {
  test::check_error_contains<IndexError>([] { test::golden_cases("no such case", __FILE__); },
                                         "operator_check.safetensors has no cases called 'no such case'");
}
